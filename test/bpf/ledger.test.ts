// SPDX-License-Identifier: Apache-2.0
// The ledger of port blocks on real maps, seen by the packets of pods: whose ports they get, when, and when not.

import { expect } from 'chai';
import { formatIp4, parseIp4, parseIp4Net } from '../../src/addr/ip.ts';
import type { PoolRange } from '../../src/model/pool.ts';
import { PortBlockLedger } from '../../src/nat64/ledger.ts';
import { poolAddresses, poolBlocks } from '../../src/plan/blocks.ts';
import { parseIp } from '../helpers/packet-read.ts';
import { eth } from '../helpers/packet.ts';
import { expectSound, type Plane, SERVER6, withPlane } from './plane.ts';

const HOLD_DOWN_MS = 120_000;
const SIZE = 16;
const SECOND = 1000;
const range = (net: string, firstPort: number, lastPort: number): PoolRange => ({
  net: parseIp4Net(net),
  firstPort,
  lastPort,
  shared: false,
});
const ONE_BLOCK = [range('203.0.113.5', 40000, 40015)];

/** A process with the data plane's maps; the next one finds what this one left. */
class Process {
  readonly lines: [message: string, fields: Record<string, unknown>][] = [];
  readonly #plane: Plane;
  readonly #ledger: PortBlockLedger;
  #now: number;

  constructor(plane: Plane, ranges: readonly PoolRange[], now = Date.now()) {
    this.#plane = plane;
    this.#now = now;
    const note = (fields: object, message: string) => this.lines.push([message, { ...fields }]);
    this.#ledger = new PortBlockLedger({
      datapath: plane.datapath,
      clock: { now: () => this.#now, wall: () => this.#now, after: () => () => undefined },
      log: { debug: note, info: note, warn: note, error: note },
      holdDownMs: HOLD_DOWN_MS,
    });
    this.#ledger.reconcile(poolBlocks(ranges, SIZE), []);
    const slots = new Map(this.#ledger.addresses().map(({ v4, slot }) => [v4, slot]));
    plane.datapath.setPoolAddresses(
      poolAddresses(ranges).map(({ v4, shared }) => ({ v4, shared, slot: slots.get(v4) ?? 0, draining: false })),
    );
    this.#ledger.tick();
  }

  /** Lets the clock of the hold-down go on; what pods do not use any more is taken back. */
  pass(ms: number): void {
    this.#now += ms;
    this.#ledger.noteReturned(this.#plane.datapath.sweep(0).returned);
    this.#ledger.verify();
    this.#ledger.tick();
  }

  get now(): number {
    return this.#now;
  }
}

const from = (n: number, sport: number) =>
  eth()
    .ip6({ src: `2001:db8:1::${n.toString(16)}`, dst: SERVER6 })
    .udp({ sport, dport: 53 });
/** T,t of the packet that pod `n` sent; "refused" when it was answered with Address Unreachable. */
function sent(plane: Plane, n: number, sport: number): string {
  const outcome = plane.gate(from(n, sport));
  expectSound(outcome);
  const { version, src, l4 } = parseIp(outcome.l3);
  const view = new DataView(l4.buffer, l4.byteOffset);
  if (version === 6) {
    expect([l4[0], l4[1]]).to.deep.equal([1, 3]);
    return 'refused';
  }
  return `${formatIp4(new DataView(src.buffer, src.byteOffset).getUint32(0))}:${view.getUint16(0)}`;
}

describe('blocks of the pool', () => {
  const empty = { blocks: [], pool: [] };

  it('G6888-3-a: N6146-3.1-b: every port of several ranges of several addresses is given once, and no other', () => {
    const ranges = [
      range('203.0.113.5', 2000, 2019),
      range('203.0.113.5', 40000, 40007),
      range('198.51.100.64/31', 9, 12),
      range('192.0.2.200', 65535, 65535),
    ];
    const expected = ranges.flatMap(({ net, firstPort, lastPort }) =>
      Array.from({ length: net.length === 31 ? 2 : 1 }, (_, i) => formatIp4(net.v4 + i)).flatMap((address) =>
        Array.from({ length: lastPort - firstPort + 1 }, (_, i) => `${address}:${firstPort + i}`),
      ),
    );
    withPlane({ ...empty, config: { slots: 4, maxBlocksPerPod: 1 } }, (plane) => {
      new Process(plane, ranges);
      const got: string[] = [];
      for (let n = 1; n <= 40; n++) {
        for (let sport = 1; sport <= SIZE + 1; sport++) {
          const port = sent(plane, n, sport);
          if (port === 'refused') break;
          got.push(port);
        }
      }
      expect(got.toSorted()).to.deep.equal(expected.toSorted());
    });
  });

  it('G6888-8-a: a block that a pod gave back is not given out after 119 s, and is after 120 s', () => {
    withPlane(empty, (plane) => {
      const process = new Process(plane, ONE_BLOCK);
      const first = sent(plane, 1, 40001);
      expect(first).to.equal('203.0.113.5:40001');
      process.pass(SECOND);
      expect(sent(plane, 2, 40001), 'it is in use').to.equal('refused');
      plane.age(100);
      process.pass(SECOND);
      expect(sent(plane, 2, 40001), 'its sessions have ended').to.equal('refused');
      expect(sent(plane, 1, 40001), 'nor to whom had it').to.equal('refused');
      process.pass(HOLD_DOWN_MS - SECOND);
      expect(sent(plane, 2, 40001)).to.equal('refused');
      process.pass(SECOND);
      expect(sent(plane, 2, 40001)).to.equal(first);
    });
  });

  it('G6888-8-b: the next process gives nobody a port that was in use, and lets what rested rest anew', () => {
    const ranges = [range('203.0.113.5', 40000, 40031)];
    withPlane(empty, (plane) => {
      const before = new Process(plane, ranges);
      sent(plane, 2, 1);
      plane.age(100);
      before.pass(SECOND);
      const kept = sent(plane, 1, 50);
      before.pass(HOLD_DOWN_MS - 10 * SECOND);

      const next = new Process(plane, ranges, before.now);
      expect(sent(plane, 1, 50), 'a flow goes on').to.equal(kept);
      for (const ms of [0, 11 * SECOND, HOLD_DOWN_MS - 12 * SECOND]) {
        next.pass(ms);
        expect(sent(plane, 3, 50), 'one is in use, one rests').to.equal('refused');
      }
      next.pass(SECOND);
      const given = Array.from({ length: SIZE }, (_, i) => sent(plane, 3, 100 + i));
      expect(given).to.not.include(kept).and.not.include('refused');
      expect(sent(plane, 1, 50)).to.equal(kept);
    });
  });

  it('G6888-s4-a: G6888-12-a: the log has who held which block from when to when, and nothing of whom they talked to', () => {
    withPlane(empty, (plane) => {
      const process = new Process(plane, ONE_BLOCK);
      sent(plane, 1, 40001);
      process.pass(SECOND);
      plane.age(100);
      process.pass(SECOND);
      const block = { address: '203.0.113.5', ports: '40000-40015', holder: '2001:db8:1::1' };
      const [leased, returned] = ['port block leased', 'port block returned'].map((message) =>
        process.lines.filter(([line]) => line === message),
      );
      expect(leased).to.have.length(1);
      expect(leased?.[0]?.[1]).to.include(block);
      expect(returned).to.have.length(1);
      expect(returned?.[0]?.[1]).to.include(block);
      const at = (value: unknown) => Date.parse(String(value));
      // The kernel's clock made into one of the wall twice: a millisecond may lie between.
      expect(at(returned?.[0]?.[1]['since'])).to.be.closeTo(at(leased?.[0]?.[1]['at']), 5);
      const text = JSON.stringify(process.lines);
      expect(text).not.to.include('198.51.100.7');
      expect(text).not.to.include(String(parseIp4('198.51.100.7')));
    });
  });
});
