// SPDX-License-Identifier: Apache-2.0
// RFC 6146 §3.5.2.2, the TCP state machine row by row: state, timer and what goes on.

import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import type { SessionRow } from '../../src/datapath/datapath.ts';
import { eth, TCP } from '../helpers/packet.ts';
import { Plane, POD, POOL, SERVER, SERVER6, TIMEOUTS } from './plane.ts';

const T = 40001;
const STATIC = 40007;
const TRANS = TIMEOUTS.tcpTransitory;
const CLOSING = TIMEOUTS.tcpClosing;
const EST = TIMEOUTS.tcpEstablished;
/** Ports of the session under test; the pod's own is the pool's too. */
type Side = 'v6' | 'v4';
const { syn, ack, fin, rst, psh } = TCP;

describe('TCP states', () => {
  let plane: Plane;

  const send = (side: Side, flags: number, port = T) =>
    side === 'v6'
      ? plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport: port, dport: 80, flags }))
      : plane.gate(eth().ip4({ src: SERVER, dst: POOL }).tcp({ sport: 80, dport: port, flags }));
  const session = (): SessionRow | undefined => plane.datapath.sessions()[0];
  /** Seconds that the session has left, as a row tells it; the clock's slack of a second is in it. */
  const left = (): number => ((session()?.expiresAt ?? 0) - Date.now()) / 1000;

  /** How each state is reached. */
  const ways: Record<string, readonly [Side, number][]> = {
    v6Init: [['v6', syn]],
    established: [
      ['v6', syn],
      ['v4', syn | ack],
    ],
    v4FinReceived: [
      ['v6', syn],
      ['v4', syn | ack],
      ['v4', fin | ack],
    ],
    v6FinReceived: [
      ['v6', syn],
      ['v4', syn | ack],
      ['v6', fin | ack],
    ],
    bothFinReceived: [
      ['v6', syn],
      ['v4', syn | ack],
      ['v6', fin | ack],
      ['v4', fin | ack],
    ],
    transitory: [
      ['v6', syn],
      ['v4', syn | ack],
      ['v4', rst],
    ],
  };

  before(() => {
    plane = new Plane({ staticPorts: [STATIC] });
  });
  after(() => plane[Symbol.dispose]());
  afterEach(() => {
    plane.age(110);
    plane.datapath.sweep(60_000);
    expect(plane.datapath.sessions()).to.deep.equal([]);
  });

  const enter = (state: string) => {
    for (const [side, flags] of ways[state] ?? []) expect(send(side, flags).action).to.equal('redirect');
    expect(session()?.state).to.equal(state);
    // Old enough that a fresh timer shows.
    plane.age(10);
  };

  it('N6146-3.5.2.2-01: N6146-3.5.2.1-a: B7857-2-a: CLOSED, V6 SYN: V6 INIT with the transitory timer', () => {
    expect(send('v6', syn).action).to.equal('redirect');
    expect(session()?.state).to.equal('v6Init');
    expect(left()).to.be.closeTo(TRANS, 3);
    expect(plane.datapath.bindings()).to.have.length(1);
  });

  for (const [what, flags] of [
    ['ACK', ack],
    ['FIN', fin | ack],
    ['RST', rst],
    ['SYN with RST', syn | rst],
    ['SYN with FIN', syn | fin],
    ['no flag', 0],
    ['data', psh | ack],
  ] as const) {
    it(`N6146-3.5.2.2-07: B7857-2.2-b: T5382-5-b: CLOSED, ${what} from either side: dropped without a word, no state`, () => {
      for (const side of ['v6', 'v4'] as const) expect(send(side, flags).action, side).to.equal('drop');
      expect(session()).to.equal(undefined);
      expect(plane.datapath.bindings()).to.deep.equal([]);
    });
  }

  it('T5382-4-a: CLOSED, V4 SYN, no binding: nothing goes on, nobody is answered', () => {
    expect(send('v4', syn).action).to.equal('handed');
    expect(session()).to.equal(undefined);
  });

  describe('V4 INIT', () => {
    beforeEach(() => {
      plane.datapath.putStaticBinding({
        protocol: 'tcp',
        source: { v6: parseIp6(POD), port: STATIC },
        pool: { v4: parseIp4(POOL), port: STATIC },
      });
      expect(send('v4', syn, STATIC).action).to.equal('redirect');
      expect(session()?.state).to.equal('v4Init');
    });
    afterEach(() => {
      plane.age(110);
      plane.datapath.sweep(60_000);
      plane.datapath.deleteStaticBinding({
        protocol: 'tcp',
        source: { v6: parseIp6(POD), port: STATIC },
        pool: { v4: parseIp4(POOL), port: STATIC },
      });
    });

    it('N6146-3.5.2.2-05: CLOSED, V4 SYN to a binding without a filter: V4 INIT with the transitory timer', () => {
      expect(left()).to.be.closeTo(TRANS, 3);
    });

    it('N6146-3.5.2.2-08: V6 SYN: ESTABLISHED', () => {
      plane.age(10);
      expect(send('v6', syn | ack, STATIC).action).to.equal('redirect');
      expect(session()?.state).to.equal('established');
      expect(left()).to.be.closeTo(EST + TRANS, 3);
    });

    it('N6146-3.5.2.2-09: anything else is forwarded and changes nothing', () => {
      plane.age(10);
      for (const [side, flags] of [
        ['v4', syn],
        ['v4', fin],
        ['v4', rst],
        ['v4', ack],
        ['v6', ack],
        ['v6', rst],
        ['v6', fin],
      ] as const) {
        expect(send(side, flags, STATIC).action).to.equal('redirect');
        expect(session()?.state).to.equal('v4Init');
        expect(left()).to.be.closeTo(TRANS - 10, 3);
      }
    });

    it('N6146-3.5.2.2-11: its timer ends it', () => {
      plane.age(TRANS + 2);
      expect(send('v4', ack, STATIC).action).to.equal('drop');
      expect(session()).to.equal(undefined);
    });
  });

  /** Seconds left after the event; `kept`: those of the timer that was running. */
  const rows: readonly [
    id: string,
    state: string,
    side: Side,
    flags: number,
    what: string,
    next: string,
    seconds: number,
  ][] = [
    ['N6146-3.5.2.2-12', 'v6Init', 'v4', syn, 'V4 SYN', 'established', EST + TRANS],
    ['N6146-3.5.2.2-12', 'v6Init', 'v4', syn | ack, 'V4 SYN+ACK', 'established', EST + TRANS],
    ['N6146-3.5.2.2-13', 'v6Init', 'v6', syn, 'V6 SYN again', 'v6Init', TRANS],
    ['N6146-3.5.2.2-14', 'v6Init', 'v4', rst, 'V4 RST', 'v6Init', TRANS - 10],
    ['N6146-3.5.2.2-14', 'v6Init', 'v6', ack, 'V6 ACK', 'v6Init', TRANS - 10],
    ['N6146-3.5.2.2-14', 'v6Init', 'v6', fin, 'V6 FIN', 'v6Init', TRANS - 10],
    ['N6146-3.5.2.2-14', 'v6Init', 'v4', syn | rst, 'V4 SYN with RST', 'v6Init', TRANS - 10],
    ['N6146-3.5.2.2-16', 'established', 'v4', fin | ack, 'V4 FIN', 'v4FinReceived', EST - 10],
    ['N6146-3.5.2.2-17', 'established', 'v6', fin | ack, 'V6 FIN', 'v6FinReceived', EST - 10],
    ['N6146-3.5.2.2-18', 'established', 'v4', rst, 'V4 RST', 'transitory', CLOSING],
    ['N6146-3.5.2.2-18', 'established', 'v6', rst | ack, 'V6 RST', 'transitory', CLOSING],
    ['N6146-3.5.2.2-18', 'established', 'v6', rst | fin, 'V6 RST with FIN', 'transitory', CLOSING],
    ['N6146-3.5.2.2-19', 'established', 'v4', ack, 'V4 ACK', 'established', EST + TRANS],
    ['N6146-3.5.2.2-19', 'established', 'v6', psh | ack, 'V6 data', 'established', EST + TRANS],
    ['N6146-3.5.2.2-19', 'established', 'v6', syn, 'V6 SYN', 'established', EST + TRANS],
    ['N6146-3.5.2.2-19', 'established', 'v4', syn, 'V4 SYN', 'established', EST + TRANS],
    ['N6146-3.5.2.2-21', 'v4FinReceived', 'v6', fin | ack, 'V6 FIN', 'bothFinReceived', CLOSING],
    ['N6146-3.5.2.2-22', 'v4FinReceived', 'v4', fin | ack, 'V4 FIN again', 'v4FinReceived', EST],
    ['N6146-3.5.2.2-22', 'v4FinReceived', 'v6', ack, 'V6 data', 'v4FinReceived', EST],
    ['B7857-2.2-a', 'v4FinReceived', 'v6', rst, 'V6 RST', 'transitory', CLOSING],
    ['N6146-3.5.2.2-24', 'v6FinReceived', 'v4', fin | ack, 'V4 FIN', 'bothFinReceived', CLOSING],
    ['N6146-3.5.2.2-25', 'v6FinReceived', 'v6', fin | ack, 'V6 FIN again', 'v6FinReceived', EST],
    ['N6146-3.5.2.2-25', 'v6FinReceived', 'v4', psh | ack, 'V4 data', 'v6FinReceived', EST],
    ['B7857-2.2-a', 'v6FinReceived', 'v4', rst, 'V4 RST', 'transitory', CLOSING],
    ['N6146-3.5.2.2-27', 'bothFinReceived', 'v6', ack, 'V6 ACK', 'bothFinReceived', CLOSING - 10],
    ['N6146-3.5.2.2-27', 'bothFinReceived', 'v4', psh | ack, 'V4 data', 'bothFinReceived', CLOSING - 10],
    ['N6146-3.5.2.2-27', 'bothFinReceived', 'v4', rst, 'V4 RST', 'bothFinReceived', CLOSING - 10],
    ['N6146-3.5.2.2-27', 'bothFinReceived', 'v4', syn, 'V4 SYN', 'bothFinReceived', CLOSING - 10],
    ['N6146-3.5.2.2-27', 'bothFinReceived', 'v6', syn, 'V6 SYN, a new connection (C-15)', 'v6Init', TRANS],
    ['N6146-3.5.2.2-29', 'transitory', 'v4', ack, 'V4 ACK', 'established', EST + TRANS],
    ['N6146-3.5.2.2-29', 'transitory', 'v6', syn, 'V6 SYN', 'established', EST + TRANS],
    ['N6146-3.5.2.2-29', 'transitory', 'v6', fin | ack, 'V6 FIN', 'established', EST + TRANS],
    ['N6146-3.5.2.2-30', 'transitory', 'v6', rst, 'V6 RST', 'transitory', CLOSING - 10],
    ['N6146-3.5.2.2-30', 'transitory', 'v4', rst, 'V4 RST', 'transitory', CLOSING - 10],
  ];
  for (const [id, state, side, flags, what, next, seconds] of rows) {
    it(`${id}: ${state}, ${what}: forwarded, ${next}, ${seconds} s left`, () => {
      enter(state);
      expect(send(side, flags).action).to.equal('redirect');
      expect(session()?.state).to.equal(next);
      expect(left()).to.be.closeTo(seconds, 3);
    });
  }

  for (const [id, state, seconds] of [
    ['N6146-3.5.2.2-15', 'v6Init', TRANS],
    ['N6146-3.5.2.2-20', 'established', EST + TRANS],
    ['N6146-3.5.2.2-23', 'v4FinReceived', EST],
    ['N6146-3.5.2.2-26', 'v6FinReceived', EST],
    ['N6146-3.5.2.2-28', 'bothFinReceived', CLOSING],
    ['N6146-3.5.2.2-31', 'transitory', CLOSING],
  ] as const) {
    it(`N6146-3.5.2.1-b: ${id}: ${state} ends after ${seconds} s, not before`, () => {
      enter(state);
      plane.age(seconds);
      expect(plane.datapath.sweep(60_000).ended).to.deep.equal([]);
      expect(session()?.state).to.equal(state);
      plane.age(seconds + 2);
      expect(send('v4', ack).action, 'absent already').to.equal('drop');
      expect(session()).to.equal(undefined);
      enter(state);
      plane.age(seconds + 2);
      expect(plane.datapath.sweep(60_000).ended.map((row) => row.state)).to.deep.equal([state]);
      expect(plane.datapath.bindings()).to.deep.equal([]);
    });
  }

  it('T5382-2-a: simultaneous open: both SYNs pass, the connection is established', () => {
    send('v6', syn);
    send('v4', syn);
    expect(session()?.state).to.equal('established');
    for (const side of ['v4', 'v6'] as const) expect(send(side, syn | ack).action).to.equal('redirect');
    expect(session()?.state).to.equal('established');
  });
});
