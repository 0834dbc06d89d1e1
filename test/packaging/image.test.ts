// SPDX-License-Identifier: Apache-2.0
// The image of the Dockerfile, as image.sh built it: what it says about itself, and that both halves run in it.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { COMMANDS } from '../../src/host/exec.ts';
import { gate64Config } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { startDnsServer } from '../helpers/server-parts.ts';
import { Topology } from '../helpers/topology.ts';
import { ROOT, read } from '../meta/repository.ts';
import { NodeRoot } from './root.ts';

interface ImageConfig {
  readonly User: string;
  readonly Entrypoint: string[];
  readonly Cmd: string[];
  readonly Labels: Record<string, string>;
}

const IMAGE = join(ROOT, '.output/packaging/image');
const { version } = JSON.parse(read('package.json')) as { version: string };

describe('image', function () {
  this.timeout(60_000);
  let topology: Topology;
  let root: NodeRoot;
  let config: ImageConfig;
  before(async () => {
    config = JSON.parse(readFileSync(join(IMAGE, 'config.json'), 'utf8')) as ImageConfig;
    topology = await Topology.create();
    root = await NodeRoot.mount(join(IMAGE, 'rootfs'), topology);
    await startDnsServer(topology);
    writeFileSync(join(root.path, 'etc/gate64.yaml'), stringify(gate64Config('masquerade')));
  });
  after(async () => {
    await (topology as Topology | undefined)?.[Symbol.asyncDispose]();
  });

  it('starts gate64 as nobody, and says what it is', () => {
    expect(config.User).to.equal('65532:65532');
    expect([...config.Entrypoint, ...config.Cmd]).to.deep.equal(['gate64', 'run']);
    expect(config.Labels['org.opencontainers.image.version']).to.equal(version);
    expect(config.Labels['org.opencontainers.image.revision']).to.equal('test');
  });

  it('names every package that is in it', () => {
    const path = config.Labels['gate64.sbom'] ?? '';
    const sbom = JSON.parse(readFileSync(join(root.path, path), 'utf8')) as { components: { name: string }[] };
    const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
    expect(sbom.components.map(({ name }) => name)).to.include.members(Object.keys(dependencies));
    expect(readFileSync(join(root.path, 'var/lib/dpkg/status'), 'utf8')).to.include('Package: libbpf1\n');
  });

  it('has what gate64 calls, and nothing to build with', async () => {
    for (const [name, { probe }] of Object.entries(COMMANDS)) await root.run([name, ...probe]);
    for (const name of ['clang', 'npm', 'make', 'cc']) {
      const folders = ['usr/bin', 'usr/local/bin'].filter((folder) => existsSync(join(root.path, folder, name)));
      expect(folders, name).to.deep.equal([]);
    }
  });

  it('gate64 version and gate64 check, as nobody', async () => {
    expect((await root.runUnprivileged(['gate64', 'version'])).stdout).to.include(version);
    await root.runUnprivileged(['gate64', 'check', '-c', '/etc/gate64.yaml']);
  });

  it('gate64 run with three capabilities becomes ready, answers and translates', async () => {
    const service = root.start(['gate64', 'run', '-c', '/etc/gate64.yaml']);
    const ready = ['curl', '-sS', '--fail', '--max-time', '2', 'http://127.0.0.1:9164/readyz'];
    await eventually('gate64 is ready', async () => {
      if (service.exitCode() !== undefined) throw new Error(service.log());
      return (await topology.run('node', ready, { accept: 'any' })).code === 0 ? true : undefined;
    });
    const dig = ['dig', '+short', '@127.0.0.1', '-p', '5364', 'AAAA', 'v4only.example'];
    expect((await topology.run('node', dig)).stdout.trim()).to.equal('64:ff9b::c633:640a');
    await topology.run('pod', ['ping', '-n', '-c', '1', '-W', '3', '64:ff9b::c633:640a']);
    await service.stop(15_000);
    await root.run(['gate64', 'uninstall', '-c', '/etc/gate64.yaml']);
  });
});
