// SPDX-License-Identifier: Apache-2.0
// `gate64 monitor` beside real traffic: drops, sessions and leases as they happen, chosen by pod, with the service up and down.

import { expect } from 'chai';
import { GATE64 } from '../helpers/gate64.ts';
import { eventually, type Background } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { POD } from '../helpers/topology.ts';

interface Event {
  readonly type: string;
  readonly reason?: string;
  readonly packet?: { readonly source: string; readonly destinationPort: number };
  readonly session?: { readonly source: { readonly address: string }; readonly destination: { readonly port: number } };
  readonly holder?: string;
}

describe('monitor', function () {
  this.timeout(60_000);
  let scene: Scene;

  before(async () => {
    scene = await Scene.create({
      egress: 'masquerade',
      config: { nat64: { deny: ['198.51.100.200'], timeouts: { tcpClosing: 2 } } },
    });
    await scene.serve('one', 1);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  const events = (started: Background): Event[] =>
    started
      .log()
      .split('\n')
      .flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as Event] : []));
  /** Gives it once it watches: a pod's refused packets are seen from then on. */
  async function monitor(...args: string[]): Promise<Background> {
    const started = scene.topology.start('node', [GATE64, 'monitor', ...args]);
    await eventually('it watches', async () => {
      await refused();
      return events(started).length > 0 ? true : undefined;
    });
    return started;
  }
  const refused = () =>
    scene.topology.sh('pod', 'timeout 1 ping -n -c 1 -W 1 64:ff9b::198.51.100.200 >/dev/null 2>&1 || true');
  const seen = (started: Background, what: string, is: (event: Event) => boolean) =>
    eventually(what, () => events(started).find(is), 15_000);

  it('prints a drop with its reason, a lease, a session that begins and ends, live', async () => {
    const started = await monitor();
    const drop = await seen(started, 'a drop', ({ reason }) => reason === 'dst_denied');
    expect(drop.packet?.source).to.equal(POD);
    await scene.download('http://[64:ff9b::c633:640a]/one');
    const begin = await seen(started, 'a session that begins', ({ type }) => type === 'begin');
    expect(begin.session?.source.address).to.equal(POD);
    expect(begin.session?.destination.port).to.equal(80);
    const lease = await seen(started, 'a lease', ({ type }) => type === 'lease');
    expect(lease.holder).to.equal(POD);
    await seen(started, 'that session ends', ({ type, session }) => type === 'end' && session?.destination.port === 80);

    const second = await scene.gate64.cli(['monitor', '--for', '1s'], { accept: 'any' });
    expect(second.code).to.equal(1);
    expect(second.stderr).to.include('another gate64 monitor watches this node');
    started.signal('SIGKILL');
    await started.ended;
  });

  it('one that was killed is in nobody’s way; --pod chooses; works while the service is down', async () => {
    const service = scene.gate64.process;
    service?.signal('SIGKILL');
    await service?.ended;
    const mine = await monitor('--drops', '--pod', POD);
    expect(events(mine).every(({ type, packet }) => type === 'drop' && packet?.source === POD)).to.equal(true);
    mine.signal('SIGINT');
    await mine.ended;

    const none = scene.topology.start('node', [GATE64, 'monitor', '--pod', '2001:db8:dead::/64', '--for', '3s']);
    for (let i = 0; i < 3; i++) await refused();
    await none.ended;
    expect(events(none)).to.deep.equal([]);
  });
});
