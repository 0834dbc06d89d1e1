// SPDX-License-Identifier: Apache-2.0
// Answers a second to one hot name by UDP over a veth, offered more than any resolver carries: Unbound, gate64 in user space
// and from the kernel, on one node, in turn. (root) test/helpers/sandbox.sh .tools/bin/node test/bench/flood.ts

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GATE64 } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { Rig } from './rig.ts';
import { median } from './statistics.ts';
import { GENERATOR, GENERATOR_OBJECT, SINK_OBJECT, buildTools } from './tools.ts';
import { unboundCommand } from './unbound.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 3);
const SECONDS = 1;
/** Of four letters, as the generator asks. */
const NAME = 'four';
const NODE = '2001:db8:1::1';
const UPSTREAM = '127.0.0.1';

interface Contestant {
  readonly title: string;
  readonly port: number;
  readonly command: readonly string[];
}

function gate64(rig: Rig, port: number, kernelCache: boolean): readonly string[] {
  const file = join(rig.directory, `gate64-${port}.yaml`);
  writeFileSync(
    file,
    `dns: { listen: ["[::]:${port}"], upstreams: ["${UPSTREAM}:53"], kernelCache: ${kernelCache} }
nat64: { enabled: false, allowNonGlobalIpv4: [203.0.113.0/24] }
http: { listen: "127.0.0.1:${port + 1000}" }
log: { level: warn }
`,
  );
  return [GATE64, 'run', '-c', file];
}

function unbound(rig: Rig, port: number, options: string): readonly string[] {
  const all = `  do-not-query-localhost: no
  access-control: ::/0 allow
  access-control: 0.0.0.0/0 allow
${options}`;
  return unboundCommand(join(rig.directory, `unbound-${port}.conf`), rig.directory, all);
}

buildTools();
await using rig = await Rig.create('flood', 6);
const zone = `  interface: ${UPSTREAM}@53\n  local-data: "${NAME}. 3600 A 203.0.113.4"\n  module-config: "iterator"`;
const upstream = rig.start('node', unbound(rig, 53, zone));
const dns64 = `  interface: ${NODE}@5301
  module-config: "dns64 iterator"
  dns64-prefix: 64:ff9b::/96
  local-zone: "${NAME}." transparent
forward-zone:
  name: "."
  forward-addr: ${UPSTREAM}@53`;
const contestants: readonly Contestant[] = [
  { title: 'Unbound (dns64, 1 thread)', port: 5301, command: unbound(rig, 5301, dns64) },
  { title: 'gate64, user space', port: 5302, command: gate64(rig, 5302, false) },
  { title: 'gate64, kernel', port: 5303, command: gate64(rig, 5303, true) },
];
for (const { title, port, command } of contestants) {
  const server = rig.start('node', command);
  await eventually(
    `${title} synthesizes`,
    async () => {
      for (const one of [server, upstream]) if (one.exitCode() !== undefined) throw new Error(one.log());
      const dig = ['dig', '+short', '+time=1', '+tries=1', '+noedns', `@${NODE}`, '-p', String(port), NAME, 'AAAA'];
      // Again and again, so that it is hot.
      let text = '';
      for (let i = 0; i < 8; i++) text = (await rig.run('pod', dig, { accept: 'any' })).stdout;
      return text.startsWith('64:ff9b::') ? true : undefined;
    },
    20_000,
  );
}
// Answers end at the pod's device, which has counted them.
await rig.sh('node', `ip neigh replace ${rig.podAddress} dev pod0 lladdr 02:00:00:00:00:01 nud permanent`);
await rig.sh(
  'pod',
  `tc qdisc add dev eth0 clsact; tc filter add dev eth0 ingress bpf direct-action obj ${SINK_OBJECT} sec tc`,
);
await rig.packetMode(true);

async function received(): Promise<number> {
  const [link] = JSON.parse(await rig.sh('pod', 'ip -j -s link show dev eth0')) as [
    { stats64: { rx: { packets: number } } },
  ];
  return link.stats64.rx.packets;
}

async function generate(port: number, count: number): Promise<number> {
  const argv = ['taskset', '-c', '0', GENERATOR, GENERATOR_OBJECT, 'eth0', rig.nodeMac, rig.podAddress, NODE];
  const { stdout } = await rig.run('pod', [...argv, '64', '10000', '0', String(count), '0', NAME, String(port)]);
  return Number(stdout);
}

const rates = new Map<string, number[]>(contestants.map(({ title }) => [title, []]));
for (let round = 0; round < ROUNDS; round++) {
  for (const { title, port } of contestants) {
    const warm = 100_000 / (await generate(port, 100_000));
    const before = await received();
    const seconds = await generate(port, Math.round(warm * SECONDS));
    const answers = (await received()) - before;
    rates.get(title)?.push(answers / seconds);
  }
}
const base = median(rates.get((contestants[0] as Contestant).title) as number[]);
for (const [title, values] of rates) {
  console.log(`${title}: ${Math.round(median(values) / 1000)} k answers/s, ${(median(values) / base).toFixed(2)}`);
}
