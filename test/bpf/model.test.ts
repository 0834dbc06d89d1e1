// SPDX-License-Identifier: Apache-2.0
// Random traffic against the tables of RFC 6146 §3.1 and §3.2 as the RFC writes them, kept here in memory.

import { expect } from 'chai';
import fc from 'fast-check';
import { formatIp4, parseIp4 } from '../../src/addr/ip.ts';
import { parseIp } from '../helpers/packet-read.ts';
import { eth } from '../helpers/packet.ts';
import { holds } from '../helpers/property.ts';
import { expectSound, type Plane, POOL, PREFIX, withPlane } from './plane.ts';

const POOL4 = parseIp4(POOL);
const pod = (n: number) => `2001:db8:1::${n + 1}`;
const server = (n: number) => `198.51.100.${n + 1}`;

/** A packet of pod `pod` to server `server`, or back to the binding that the pod's port has, if it has one. */
interface Step {
  out: boolean;
  udp: boolean;
  pod: number;
  port: number;
  server: number;
  remotePort: number;
}

const steps = fc.array(
  fc.record<Step>({
    out: fc.boolean(),
    udp: fc.boolean(),
    pod: fc.nat(2),
    port: fc.nat(2).map((n) => 39999 + n),
    server: fc.nat(3),
    remotePort: fc.nat(1).map((n) => 7 + n),
  }),
  { minLength: 10, maxLength: 60, size: 'max' },
);

/** One protocol's BIB, (X',x) → t, and whom the filter lets in: addresses for UDP, sessions for ICMP. */
class Tables {
  readonly bib = new Map<string, number>();
  readonly sessions = new Set<string>();
  readonly peers = new Set<string>();
}

function run(plane: Plane, step: Step, { bib, sessions, peers }: Tables): void {
  const inside = `${pod(step.pod)} ${step.port}`;
  const v4 = server(step.server);
  const remotePort = step.udp ? step.remotePort : 0;
  const peer = `${inside} ${v4}`;
  if (step.out) {
    const packet = eth().ip6({ src: pod(step.pod), dst: `${PREFIX}${v4}` });
    const outcome = plane.gate(
      step.udp ? packet.udp({ sport: step.port, dport: remotePort }) : packet.echo6(step.port),
    );
    expectSound(outcome);
    const { src, dst, l4 } = parseIp(outcome.l3);
    expect([src, dst].map((one) => formatIp4(new DataView(one.buffer, one.byteOffset).getUint32(0)))).to.deep.equal([
      POOL,
      v4,
    ]);
    const view = new DataView(l4.buffer, l4.byteOffset);
    const t = view.getUint16(step.udp ? 0 : 4);
    if (step.udp) expect(view.getUint16(2), 'y = z').to.equal(remotePort);
    expect(t, 'one binding for each (X’,x)').to.equal(bib.get(inside) ?? t);
    const holders = [...bib].filter(([, port]) => port === t).map(([name]) => name);
    expect(holders, 'one (X’,x) for each binding').to.deep.equal(bib.has(inside) ? [inside] : []);
    bib.set(inside, t);
    sessions.add(`${peer} ${remotePort}`);
    peers.add(peer);
    return;
  }
  // A port that nobody has is one of the pool's all the same.
  const t = bib.get(inside) ?? 40999;
  const packet = eth().ip4({ src: v4, dst: POOL });
  const outcome = plane.gate(step.udp ? packet.udp({ sport: remotePort, dport: t }) : packet.echo4(t, 1, true));
  if (!peers.has(peer)) {
    expect(outcome.action).to.equal('drop');
    return;
  }
  expectSound(outcome);
  const { dst, l4 } = parseIp(outcome.l3);
  expect(Buffer.from(dst).readUInt16BE(14)).to.equal(step.pod + 1);
  expect(new DataView(l4.buffer, l4.byteOffset).getUint16(step.udp ? 2 : 4)).to.equal(step.port);
  sessions.add(`${peer} ${remotePort}`);
}

describe('tables of RFC 6146', () => {
  it('N6146-3-b: N6146-3.1-b: N6146-3.1-c: N6146-3.3-a: U4787-1-a: whatever the traffic, what goes out and what comes in are theirs', () => {
    const options = {
      blocks: [0, 1, 2].map((index) => ({ index, slot: 0, v4: POOL4, firstPort: 40000 + 16 * index, size: 16 })),
    };
    withPlane(options, (plane) => {
      holds(
        fc.property(steps, (script) => {
          plane.reset();
          const tables = { udp: new Tables(), icmp: new Tables() };
          for (const step of script) run(plane, step, step.udp ? tables.udp : tables.icmp);
          for (const kind of ['udp', 'icmp'] as const) {
            const { bib, sessions } = tables[kind];
            const counts = plane.datapath.counts();
            expect([counts.bindings[kind], counts.sessions[kind]], kind).to.deep.equal([bib.size, sessions.size]);
          }
        }),
        { runs: 60 },
      );
    });
  });
});
