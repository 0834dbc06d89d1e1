// SPDX-License-Identifier: Apache-2.0
// The names of sessions, end to end: pods that ask gate64 themselves, pods behind CoreDNS, and a service that is away.

import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { gate64Config } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { NODE6, POD } from '../helpers/topology.ts';

interface SessionJson {
  source: { address: string };
  destination: { address: string };
  name: string | null;
  nameGuessed: boolean;
}

interface ReportJson {
  pod: string;
  name: string | null;
  sessions: number;
}

const DNS = { listen: ['127.0.0.1:5364', `[${NODE6}]:5364`] };

describe('names of sessions', function () {
  this.timeout(60_000);
  let scene: Scene;
  before(async () => {
    scene = await Scene.create({ egress: 'masquerade', config: { dns: DNS } });
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  const sessions = (...args: string[]) => scene.gate64.json<SessionJson[]>('sessions', ...args);
  const names = async (...args: string[]) =>
    (await sessions(...args)).map(({ name, nameGuessed }) => `${name ?? '-'}${nameGuessed ? '?' : ''}`).toSorted();
  /** The file is some seconds behind. */
  const settled = (expected: string[]) =>
    eventually('the names are listed', async () =>
      JSON.stringify(await names()) === JSON.stringify(expected) ? true : undefined,
    );

  const stop = async () => {
    const { process } = scene.gate64;
    process?.signal('SIGTERM');
    // Once more ends the time for which DNS is still answered.
    process?.signal('SIGINT');
    await process?.ended;
  };

  it('are sure where the pod asked gate64 itself, and a guess behind CoreDNS', async () => {
    const dig = ['dig', '+short', `@${NODE6}`, '-p', '5364', 'AAAA', 'V4only.example'];
    const [address] = (await scene.topology.run('pod', dig)).stdout.trim().split('\n');
    expect(address).to.match(/^64:ff9b::/);
    await scene.download(`http://[${address ?? ''}]/one`);
    await scene.download('http://other.example/one');
    await settled(['other.example?', 'v4only.example']);
    expect((await sessions())[0]?.source.address).to.equal(POD);
    const table = (await scene.gate64.cli(['sessions', '-o', 'table'])).stdout;
    expect(table)
      .to.match(/ other\.example\? /)
      .and.to.match(/ v4only\.example /);
  });

  it('are what --name looks for, without case and by suffix', async () => {
    expect(await names('--name', 'OTHER.example')).to.deep.equal(['other.example?']);
    expect(await names('--name', '*.example')).to.have.length(2);
    expect(await names('--name', '*.other.example')).to.deep.equal([]);
  });

  it('stay while the service is down, and when it is back', async () => {
    await stop();
    expect(await names()).to.deep.equal(['other.example?', 'v4only.example']);
    const { rows } = await scene.gate64.json<{ rows: SessionJson[] }>('top', '--by', 'names');
    expect(rows.map(({ name }) => name)).to.have.members(['other.example', 'v4only.example']);
    await scene.gate64.start();
    expect(await names('--name', 'v4only.example')).to.deep.equal(['v4only.example']);
    await scene.download('http://v4only.example/one');
    await settled(['other.example?', 'v4only.example', 'v4only.example']);
  });

  it('stay in the report when the sessions have ended', async () => {
    const report = async () =>
      (await scene.gate64.json<ReportJson[]>('report')).map(({ pod, name, sessions: count }) => [pod, name, count]);
    const expected = [
      [POD, 'v4only.example', 2],
      [POD, 'other.example', 1],
    ];
    expect(await report()).to.deep.equal(expected);
    scene.gate64.write(gate64Config('masquerade', { dns: DNS, nat64: { deny: ['198.51.100.0/24'] } }));
    scene.gate64.process?.signal('SIGHUP');
    await eventually('the sessions have ended', async () => ((await sessions()).length === 0 ? true : undefined));
    await eventually('the report has them', async () => {
      return JSON.stringify(await report()) === JSON.stringify(expected) ? true : undefined;
    });
    const csv = (await scene.gate64.cli(['report', '-o', 'csv', '--since', '1h'])).stdout.split('\r\n');
    expect(csv).to.have.length(4);
    expect(csv[1]).to.match(/^2001:db8:1::2,v4only\.example,/);
  });

  it('lie in a file for root alone, which harms nobody when it is broken', async () => {
    const path = '/run/gate64/names.jsonl';
    expect(statSync(path).mode & 0o777).to.equal(0o600);
    await stop();
    writeFileSync(path, '{"version":1}\n{"name":"\u001b[2Jx","address":"198.51.100.10"}\nnonsense');
    expect(await names()).to.deep.equal([]);
    expect((await scene.gate64.json<ReportJson[]>('report')).length).to.equal(2);
    await scene.gate64.start();
  });

  it('go with the rest at uninstall', async () => {
    await stop();
    const { stdout } = await scene.gate64.cli(['uninstall', '-c', scene.gate64.configFile]);
    expect(stdout).to.include('removed: names that pods asked for');
    // Locks are of other namespaces' instances, which were killed.
    const left = existsSync('/run/gate64') ? readdirSync('/run/gate64') : [];
    expect(left.filter((name) => !name.startsWith('lock-'))).to.deep.equal([]);
  });
});
