// SPDX-License-Identifier: Apache-2.0
// Bulk throughput beside Tayga with masquerade, in the same topology and the same run.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { Gate64, gate64Config } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES } from '../helpers/scene.ts';
import { startIperf3 } from '../helpers/server-parts.ts';
import { Topology } from '../helpers/topology.ts';

// Tayga refuses documentation addresses under the well-known prefix.
const PREFIX = '2001:db8:64::/96';
const TARGET = '2001:db8:64::198.51.100.10';
const SECONDS = 1;

/** Bits a second that arrive at the server. */
async function bulk(topology: Topology): Promise<number> {
  const argv = ['iperf3', '-6', '-c', TARGET, '-t', String(SECONDS), '-J'];
  const { stdout } = await topology.run('pod', argv, { timeoutMs: 20_000 });
  return (JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } }).end.sum_received
    .bits_per_second;
}

async function startTayga(topology: Topology): Promise<void> {
  const directory = join(topology.directory, 'tayga');
  mkdirSync(directory);
  const conf = join(directory, 'tayga.conf');
  writeFileSync(
    conf,
    `tun-device nat64
ipv4-addr 192.168.255.1
ipv6-addr 2001:db8:3::1
prefix ${PREFIX}
dynamic-pool 192.168.255.0/24
data-dir ${directory}
`,
  );
  // The device is made by the program itself: made before, it would lack the settings of its own build.
  const tayga = topology.start('node', ['tayga', '-n', '-c', conf]);
  await eventually('Tayga has its device', async () => {
    if (tayga.exitCode() !== undefined) throw new Error(tayga.log());
    return (await topology.sh('node', 'ip -o link show')).includes('nat64') ? true : undefined;
  });
  await topology.sh(
    'node',
    `ip link set nat64 up
ip -4 route add 192.168.255.0/24 dev nat64
ip -6 route add ${PREFIX} dev nat64
nft add table ip tayga
nft add chain ip tayga post '{ type nat hook postrouting priority 100; }'
nft add rule ip tayga post ip saddr 192.168.255.0/24 oifname up0 masquerade`,
  );
}

describe('bulk', function () {
  this.timeout(60_000);
  let mine: Topology;
  let theirs: Topology;
  before(async () => {
    mine = await Topology.create();
    theirs = await Topology.create('tayga-');
    await startIperf3(mine);
    await startIperf3(theirs);
    await startTayga(theirs);
  });
  after(async () => {
    await (mine as Topology | undefined)?.dispose();
    await (theirs as Topology | undefined)?.dispose();
  });

  for (const egress of EGRESSES) {
    it(`egress ${egress} is at least 10 times as fast as Tayga with masquerade`, async () => {
      const gate64 = new Gate64(mine, gate64Config(egress, { prefix: PREFIX }));
      await gate64.start();
      try {
        const rates: { gate64: number; tayga: number }[] = [];
        // One after the other, so that both meet the same noise.
        for (let round = 0; round < 3; round++) rates.push({ tayga: await bulk(theirs), gate64: await bulk(mine) });
        const median = (of: 'gate64' | 'tayga') => rates.map((rate) => rate[of]).toSorted((a, b) => a - b)[1] ?? 0;
        expect(median('gate64') / median('tayga'), JSON.stringify(rates)).to.be.at.least(10);
      } finally {
        gate64.process?.signal('SIGKILL');
        await gate64.process?.ended;
        await gate64.cli(['uninstall', '-c', gate64.configFile]);
      }
    });
  }
});
