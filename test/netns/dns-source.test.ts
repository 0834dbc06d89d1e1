// SPDX-License-Identifier: Apache-2.0
// The way to the upstream changes while gate64 runs: its own address, or the path of a connection that dies without a
// word. At most one question is late, and two seconds later all is as before.
//
//   node ── up0 ── eth0 ── outside (DNS over UDP and TCP)

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect } from 'chai';
import { run } from '../helpers/processes.ts';

const CHILD = join(import.meta.dirname, 'dns-source.child.ts');
const NAMESPACES = ['node', 'outside'] as const;
type Namespace = (typeof NAMESPACES)[number];

const enter = (name: Namespace, argv: readonly string[]) => ['nsenter', `--net=/run/netns/${name}`, '--', ...argv];
const sh = (name: Namespace, script: string) => run(enter(name, ['bash', '-euo', 'pipefail', '-c', script]));

async function startChild(name: Namespace, role: string): Promise<ChildProcess> {
  const [execPath = '', ...execArgv] = enter(name, [process.execPath]);
  const child = fork(CHILD, [role], { execPath, execArgv });
  await once(child, 'message', { signal: AbortSignal.timeout(10_000) });
  return child;
}

describe('the way to the upstream changes', function () {
  this.timeout(60_000);
  let server: ChildProcess | undefined;

  before(async () => {
    expect(process.env['GATE64_SANDBOX'], 'run this layer with `make test-netns`').to.equal('1');
    for (const name of NAMESPACES) {
      await run(['ip', 'netns', 'add', name]);
      await sh(name, 'ip link set lo up');
    }
    await sh('node', 'ip link add up0 type veth peer name eth0 netns outside; ip link set up0 up');
    await sh('outside', 'ip link set eth0 up; ip addr add 192.0.2.2/32 dev eth0');
    await sh('outside', 'ip route add 198.51.100.0/24 dev eth0; ip route add 203.0.113.0/24 dev eth0');
    await sh('node', 'ip addr add 198.51.100.1/24 dev up0; ip route add 192.0.2.2 dev up0 src 198.51.100.1');
    server = await startChild('outside', 'server');
  });
  after(async () => {
    server?.kill();
    for (const name of NAMESPACES) await run(['ip', 'netns', 'del', name], { accept: 'any' });
  });
  afterEach(async () => {
    await sh('outside', 'nft flush ruleset; ip route replace 198.51.100.0/24 dev eth0');
    await sh(
      'node',
      `ip addr replace 198.51.100.1/24 dev up0; ip route replace 192.0.2.2 dev up0 src 198.51.100.1
       ip addr del 203.0.113.1/24 dev up0 2>/dev/null || true`,
    );
  });

  /** Twenty questions, the change, ten questions more: milliseconds of each of those. */
  async function around(channel: 'udp' | 'tcp', change: () => Promise<unknown>): Promise<unknown[]> {
    const client = await startChild('node', channel);
    const ask = async (count: number) => {
      const answers: unknown[] = [];
      for (let i = 0; i < count; i++) {
        client.send('ask');
        answers.push(...((await once(client, 'message')) as unknown[]).slice(0, 1));
      }
      return answers;
    };
    try {
      expect(await ask(20)).to.not.include('none');
      await change();
      return await ask(10);
    } finally {
      client.kill();
    }
  }

  const expectBack = ([first, ...others]: unknown[]) => {
    expect(first, 'one attempt late').to.be.below(1500);
    for (const one of others) expect(one).to.be.below(1000);
  };
  const move = async (keep: boolean) => {
    await sh(
      'node',
      `ip addr add 203.0.113.1/24 dev up0; ip route replace 192.0.2.2 dev up0 src 203.0.113.1
       ${keep ? '' : 'ip addr del 198.51.100.1/24 dev up0'}`,
    );
    await sh('outside', 'ip route del 198.51.100.0/24 dev eth0');
  };

  it('the address is replaced: UDP goes on from the new one', async () =>
    expectBack(await around('udp', () => move(false))));

  it('another address is preferred, and no answer reaches the old one: UDP goes on from the new one', async () =>
    expectBack(await around('udp', () => move(true))));

  it('a TCP connection dies without FIN: the question goes by a new one', async () => {
    const drop = `nft 'add table inet cut; add set inet cut seen { type inet_service; }'
      nft 'add chain inet cut in { type filter hook input priority 0; }; add rule inet cut in tcp sport @seen drop'
      for port in $(ss -Htn state established sport = 53 | awk '{ sub(/.*:/, "", $4); print $4 }'); do
        nft add element inet cut seen "{ $port }"
      done`;
    expectBack(await around('tcp', () => sh('outside', drop)));
  });
});
