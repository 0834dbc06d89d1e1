// SPDX-License-Identifier: Apache-2.0
// The Debian package on a bare Debian 12: installed, used, upgraded, removed, purged. No systemd runs there: a script in
// its place notes what the maintainer scripts ask of it.

import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { gate64Config } from '../helpers/gate64.ts';
import { nodeState, type NodeState } from '../helpers/node-state.ts';
import { eventually, run, type Background } from '../helpers/processes.ts';
import { startDnsServer } from '../helpers/server-parts.ts';
import { Topology } from '../helpers/topology.ts';
import { ROOT, read } from '../meta/repository.ts';
import { NodeRoot } from './root.ts';

const STATE = join(ROOT, '.output/packaging/deb');
const CONFIGURATION = 'etc/gate64/gate64.yaml';
const DESTINATION = '64:ff9b::c633:640a';
const { version } = JSON.parse(read('package.json')) as { version: string };

function packageOf(revision: number): string {
  const name = readdirSync(STATE).find((file) => file.startsWith(`gate64_${version}-${revision}_`));
  if (name === undefined) throw new Error(`no package of revision ${revision} in ${STATE}: make test-packaging`);
  return name;
}

describe('Debian package', function () {
  this.timeout(120_000);
  let topology: Topology;
  let root: NodeRoot;
  let files: string;
  let clean: NodeState;
  let service: Background;

  const at = (path: string) => join(root.path, path);
  const listing = async () =>
    (await run(['find', root.path, '-xdev', '-not', '-path', '*/var/lib/dpkg/*', '-not', '-path', '*/var/log/*']))
      .stdout;
  const dpkg = (...argv: string[]) =>
    root.run(['env', 'DEBIAN_FRONTEND=noninteractive', 'dpkg', '--force-confold', ...argv], { timeoutMs: 90_000 });
  const asked = () => readFileSync(at('systemctl.log'), 'utf8').trim().split('\n');
  const begin = async () => {
    service = root.start(['gate64', 'run']);
    await eventually('gate64 is ready', async () => {
      if (service.exitCode() !== undefined) throw new Error(service.log());
      const argv = ['curl', '-sS', '--fail', '--max-time', '2', 'http://127.0.0.1:9164/readyz'];
      return (await topology.run('node', argv, { accept: 'any' })).code === 0 ? true : undefined;
    });
  };
  const ping = () => topology.run('pod', ['ping', '-n', '-c', '1', '-W', '3', DESTINATION]);

  before(async () => {
    topology = await Topology.create();
    root = await NodeRoot.mount(readFileSync(join(STATE, 'base'), 'utf8').trim(), topology);
    await startDnsServer(topology);
    mkdirSync(at('run/systemd/system'), { recursive: true });
    const systemctl = at('usr/bin/systemctl');
    writeFileSync(systemctl, '#!/bin/sh\necho "$@" >>/systemctl.log\n[ "$1" != is-enabled ]\n');
    chmodSync(systemctl, 0o755);
    writeFileSync(at('systemctl.log'), '');
    for (const revision of [1, 2]) copyFileSync(join(STATE, packageOf(revision)), at(packageOf(revision)));
    files = await listing();
    clean = await nodeState(topology);
  });
  after(async () => {
    await (topology as Topology | undefined)?.[Symbol.asyncDispose]();
  });

  it('has no error that lintian knows', async () => {
    await run(['lintian', '--allow-root', '--fail-on', 'error', join(STATE, packageOf(1))], { timeoutMs: 110_000 });
  });

  it('is installed on a bare Debian 12, and starts and enables nothing', async () => {
    await dpkg('-i', packageOf(1));
    expect((await root.run(['gate64', 'version'])).stdout).to.include(version);
    await root.run(['gate64', 'check']);
    expect(asked().filter((line) => /\b(?:start|restart|try-restart|enable)\b/.test(line))).to.deep.equal([]);
    expect(existsSync(at('etc/systemd/system/multi-user.target.wants/gate64.service'))).to.equal(false);
    expect(await nodeState(topology)).to.deep.equal(clean);
  });

  it('translates, and goes on while the package is upgraded', async () => {
    writeFileSync(at(CONFIGURATION), stringify(gate64Config('masquerade')));
    await begin();
    await ping();
    const echo = 'exec 3<>/dev/udp/' + DESTINATION + '/53; echo held >&3; sleep 600';
    topology.start('pod', ['bash', '-c', echo]);
    // By whom, as whom and to whom: the same binding, not one made anew.
    const sessions = async () => {
      const text = (await root.run(['gate64', 'sessions', '-o', 'json'])).stdout;
      const all = JSON.parse(text) as { protocol: string; source: unknown; pool: unknown; destination: unknown }[];
      return all
        .filter(({ protocol }) => protocol === 'udp')
        .map(({ source, pool, destination }) => ({ source, pool, destination }));
    };
    await eventually('the session is there', async () => ((await sessions()).length === 1 ? true : undefined));
    const before = await sessions();

    await dpkg('-i', packageOf(2));
    expect(
      asked()
        .filter((line) => line.includes('gate64.service'))
        .at(-1),
    ).to.match(/try-restart gate64\.service$/);
    expect(readFileSync(at(CONFIGURATION), 'utf8')).to.equal(stringify(gate64Config('masquerade')));
    await ping();
    // What systemd would do.
    await service.stop(15_000);
    await ping();
    await begin();
    await ping();
    expect(await sessions()).to.deep.equal(before);
    await service.stop(15_000);
  });

  it('removed, it takes the data plane along and keeps the configuration', async () => {
    await dpkg('--remove', 'gate64');
    expect(
      asked()
        .filter((line) => line.includes('gate64.service'))
        .at(-1),
    ).to.match(/stop gate64\.service$/);
    expect(await nodeState(topology)).to.deep.equal(clean);
    expect(existsSync(at(CONFIGURATION))).to.equal(true);
    expect(existsSync(at('usr/lib/gate64'))).to.equal(false);
  });

  it('purged, it leaves no file', async () => {
    await dpkg('--purge', 'gate64');
    expect(await listing()).to.equal(files);
  });
});
