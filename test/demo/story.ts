// SPDX-License-Identifier: Apache-2.0
// What the demo does and shows, step by step, inside the sandbox.

import { join } from 'node:path';
import { stringify } from 'yaml';
import { Gate64, gate64Config, type Egress } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { differences, nodeState } from '../helpers/node-state.ts';
import { makeFile, sha256 } from '../helpers/payload.ts';
import { startDnsServer, startNginx, startUdpEcho } from '../helpers/server-parts.ts';
import { NODE6, SERVER4, Topology } from '../helpers/topology.ts';

const NAME = 'files.example';
const FILE_MIB = 64;
const REFUSED = '64:ff9b::169.254.169.254';

const PICTURE = `
  pod                      node                         router            server
  IPv6 only                gate64: DNS64 and NAT64      IPv4              IPv4 only
  2001:db8:1::2 ────────── 2001:db8:1::1 ┊ 192.0.2.1 ── 192.0.2.254 ───── 198.51.100.10
  curl, ping               device "gate64"                                nginx, DNS, UDP echo
`;

type Row = readonly [what: string, result: string];

/** Gives the exit code: 0 when every step did what it should. */
export async function runDemo(egress: Egress): Promise<number> {
  const rows: Row[] = [];
  let gate64: Gate64 | undefined;
  try {
    await using topology = await Topology.create();
    heading('Four network namespaces: a pod, its node, a router, a server');
    console.log(PICTURE);
    await setUpServer(topology);

    heading(`gate64 on the node (egress: ${egress})`);
    const before = await nodeState(topology);
    // The pod asks gate64 itself here; in a cluster it asks CoreDNS, which forwards to gate64.
    const config = gate64Config(egress, { dns: { listen: [`[${NODE6}]:53`] } });
    gate64 = new Gate64(topology, config);
    show('cat gate64.yaml', stringify(config));
    const service = await gate64.start();
    show('gate64 run -c gate64.yaml', 'ready: programs loaded, routes and rules in place, DNS answering');

    await resolveAndFetch(topology, rows);
    await pingAndEcho(topology, rows);
    await sessions(gate64, rows);
    await refusal(topology, gate64, rows);

    heading('Stop it and take everything off the node');
    service.signal('SIGTERM');
    // The first signal drains, so that callers can go elsewhere; the second says that nobody is left to wait for.
    await eventually('gate64 drains', () => (service.log().includes('draining') ? true : undefined));
    await service.stop(10_000);
    const { stdout } = await gate64.cli(['uninstall', '-c', gate64.configFile]);
    show('gate64 uninstall', stdout);
    const left = differences(before, await nodeState(topology));
    if (left.length > 0) throw new Error(`the node is not as it was:\n${left.join('\n')}`);
    rows.push(['stopped and removed', 'links, routes, rules, nftables, sysctls, pins: as before']);
  } catch (error) {
    console.error(`\ndemo FAILED: ${error instanceof Error ? error.message : String(error)}`);
    if (gate64?.process !== undefined) console.error(`\nlog of gate64:\n${gate64.process.log().slice(-4000)}`);
    return 1;
  }
  table(rows);
  console.log(`
To stop and remove gate64 on a node of yours:
  end the service (SIGTERM; sessions go on in the kernel), then: gate64 uninstall
Here both was done, and the namespaces are gone with this program. Nothing is left to clean up.`);
  return 0;
}

async function setUpServer(topology: Topology): Promise<void> {
  const www = join(topology.directory, 'www');
  makeFile(www, 'file', FILE_MIB);
  await startNginx(topology, www);
  await startDnsServer(topology);
  await startUdpEcho(topology);
  const addresses = await topology.sh('pod', 'ip -br addr show dev eth0; ip -4 -o addr show');
  show('pod$ ip -br addr show dev eth0', addresses);
  show('server$ ip -br addr show dev eth0', await topology.sh('server', 'ip -4 -br addr show dev eth0'));
}

async function resolveAndFetch(topology: Topology, rows: Row[]): Promise<void> {
  heading('The pod asks for a name that has no IPv6 address');
  const records = await topology.sh('server', `dig +short @${SERVER4} ${NAME} A ${NAME} AAAA`);
  show(`server$ dig +short ${NAME} A ${NAME} AAAA`, records);
  const answer = await topology.sh('pod', `getent ahosts ${NAME}`);
  show(`pod$ getent ahosts ${NAME}`, answer);
  const address = answer.split(/\s+/)[0] ?? '';
  if (address !== '64:ff9b::c633:640a') throw new Error(`${NAME} should lead to 64:ff9b::c633:640a, not ${address}`);
  rows.push(['name asked', `${NAME}, which has ${SERVER4} and no IPv6 address`], ['synthesized address', address]);

  heading('It fetches a file from there');
  const there = await sha256(join(topology.directory, 'www/file'));
  const script = `curl -sS --fail --max-time 60 -w '%{stderr}%{size_download} bytes from %{remote_ip} in %{time_total} s\\n' http://${NAME}/file | sha256sum`;
  const { stdout, stderr } = await topology.run('pod', ['bash', '-euo', 'pipefail', '-c', script]);
  show(`pod$ curl http://${NAME}/file | sha256sum`, stdout + stderr);
  const here = stdout.split(' ')[0];
  if (here !== there) throw new Error(`the file has the SHA-256 ${there} on the server, but ${here} in the pod`);
  const bytes = Number(/^(\d+) bytes/m.exec(stderr)?.[1]);
  rows.push(['bytes fetched', `${bytes}, the same SHA-256 on both sides: ${there.slice(0, 16)}…`]);
}

async function pingAndEcho(topology: Topology, rows: Row[]): Promise<void> {
  heading('Ping and UDP');
  const ping = await topology.sh('pod', `ping -n -c 3 -i 0.2 -W 3 ${NAME}`);
  show(`pod$ ping -c 3 ${NAME}`, ping);
  const summary = /(\d+) packets transmitted, (\d+) received/.exec(ping);
  if (summary === null || summary[1] !== summary[2]) throw new Error('pings got lost');
  rows.push(['ping', `${summary[2]} of ${summary[1]} came back`]);
  const probe = join(import.meta.dirname, '../helpers/udp-probe.ts');
  const { stdout } = await topology.run('pod', [process.execPath, probe, NAME, '7007', '1', '1400']);
  const { intact, lost } = JSON.parse(stdout) as { intact: number; lost: number[] };
  show(`pod$ UDP datagrams of 1 to 1400 bytes to ${NAME} port 7007, echoed`, `${intact} of 1400 came back intact`);
  if (lost.length > 0) throw new Error(`datagrams of these sizes did not come back: ${lost.join(', ')}`);
  rows.push(['UDP echo', `${intact} of 1400 datagrams, 1 to 1400 bytes, came back intact`]);
}

async function sessions(gate64: Gate64, rows: Row[]): Promise<void> {
  heading('What gate64 has in its tables');
  const { stdout } = await gate64.cli(['sessions', '-o', 'table']);
  show('gate64 sessions', stdout);
  const listed = await gate64.json<{ protocol: string }[]>('sessions');
  for (const protocol of ['tcp', 'udp', 'icmp']) {
    if (!listed.some((session) => session.protocol === protocol)) throw new Error(`no ${protocol} session is listed`);
  }
  rows.push(['sessions listed', `${listed.length}: TCP, UDP and ICMP (above)`]);
}

async function refusal(topology: Topology, gate64: Gate64, rows: Row[]): Promise<void> {
  heading("A destination that gate64 refuses: a cloud's metadata service");
  const { code, stdout } = await topology.run('pod', ['ping', '-n', '-c', '1', '-W', '1', REFUSED], { accept: 'any' });
  show(`pod$ ping -c 1 ${REFUSED}`, stdout);
  if (code === 0) throw new Error(`${REFUSED} answered`);
  show('gate64 drops --explain', (await gate64.cli(['drops', '--explain', '-o', 'table'])).stdout);
  const drops = await gate64.json<{ reason: string; explanation: string }[]>('drops', '--explain');
  const drop = drops.find(({ reason }) => reason === 'dst_never');
  if (drop === undefined) throw new Error(`no reason is counted for ${REFUSED}`);
  rows.push(['refused', `${REFUSED}: ${drop.reason}`], ['because', drop.explanation]);
}

function heading(text: string): void {
  console.log(`\n── ${text} ${'─'.repeat(Math.max(0, 96 - text.length))}`);
}

function show(command: string, output: string): void {
  const lines = output.trimEnd().split('\n');
  console.log(`  ${command.includes('$ ') ? command : `node$ ${command}`}`);
  for (const line of lines) console.log(`    ${line}`);
}

const VALUE_WIDTH = 72;

function table(rows: readonly Row[]): void {
  const width = Math.max(...rows.map(([name]) => name.length));
  const rule = (left: string, middle: string, right: string) =>
    `${left}${'─'.repeat(width + 2)}${middle}${'─'.repeat(VALUE_WIDTH + 2)}${right}`;
  console.log(`\n${rule('┌', '┬', '┐')}`);
  for (const [name, value] of rows) {
    for (const [index, line] of wrapped(value).entries()) {
      console.log(`│ ${(index === 0 ? name : '').padEnd(width)} │ ${line.padEnd(VALUE_WIDTH)} │`);
    }
  }
  console.log(rule('└', '┴', '┘'));
}

function wrapped(text: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (`${last} ${word}`.trim().length <= VALUE_WIDTH) lines[lines.length - 1] = `${last} ${word}`.trim();
    else lines.push(word);
  }
  return lines;
}
