// SPDX-License-Identifier: Apache-2.0
// nat64.admit: what is refused and how it is said, that nothing of a running session is cut, and the map that is written.

import { mkdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { expect } from 'chai';
import { parseIp4 } from '../../src/addr/ip.ts';
import { Admissions } from '../../src/datapath/admissions.ts';
import { monotonicNs } from '../../src/datapath/clock.ts';
import { be32Codec, u64Codec } from '../../src/model/codecs.ts';
import { Pins } from '../../src/datapath/pins.ts';
import { BpfMap, TypedMap } from '../../src/libbpf/mod.ts';
import { bare, eth, TCP } from '../helpers/packet.ts';
import { expectOut, expectSound, NODE, POD, POOL, SERVER, SERVER6, withPlane, type Plane } from './plane.ts';

const SECOND = 1_000_000_000n;

const udp = (sport: number) => eth().ip6({ src: POD, dst: SERVER6 }).udp({ sport, dport: 53 }).payload('x');

const until = (plane: Plane) => new TypedMap(plane.maps.n64_admitted, be32Codec, u64Codec);

describe('admit dns', () => {
  const admitting = <T>(act: (plane: Plane) => T) => withPlane({ config: { admit: 'dns' }, uplink: true }, act);

  it('X7915-5.4-a: a destination that no name led to: Administratively Prohibited, not_admitted', () => {
    admitting((plane) => {
      const before = plane.state();
      const refused = bare().ip6({ src: NODE, dst: POD }).icmp6({ type: 1, code: 1 }).payload(udp(40001));
      expect(plane.dropsOf(() => expectOut(plane.gate(udp(40001)), refused))).to.deep.equal({ not_admitted: 1 });
      expect(plane.state()).to.deep.equal(before);
    });
  });

  it('a TCP segment that starts nothing is told nothing new', () => {
    admitting((plane) => {
      const segment = eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport: 40001, dport: 443, flags: TCP.ack });
      expect(plane.dropsOf(() => plane.gate(segment))).to.deep.equal({ tcp_no_session: 1 });
    });
  });

  it('cuts nothing of a session when its time is over: either direction, errors, the sweep', () => {
    admitting((plane) => {
      until(plane).update(parseIp4(SERVER), monotonicNs() + SECOND);
      expectSound(plane.gate(udp(40001)));
      until(plane).update(parseIp4(SERVER), monotonicNs() - SECOND);
      expect(plane.dropsOf(() => plane.gate(udp(40002)))).to.deep.equal({ not_admitted: 1 });
      const sent = plane.gate(udp(40001));
      expectSound(sent);
      const answer = eth().ip4({ src: SERVER, dst: POOL }).udp({ sport: 53, dport: 40001 }).payload('y');
      expectSound(plane.gate(answer));
      const error = eth()
        .ip4({ src: '198.51.100.1', dst: POOL })
        .icmp4({ type: 3, code: 1 })
        .payload(sent.l3.slice(0, 28));
      expectSound(plane.gate(error));
      const own = eth().ip6({ src: POD, dst: SERVER6 }).icmp6({ type: 1, code: 4 }).payload(plane.gate(answer).l3);
      expectSound(plane.gate(own));
      plane.datapath.sweep(60_000);
      expect(plane.datapath.sessions()).to.have.length(1);
      plane.age(35);
      expect(
        plane.dropsOf(() => plane.gate(udp(40001))),
        'a new one',
      ).to.deep.equal({ not_admitted: 1 });
    });
  });
});

describe('admissions', () => {
  const ROOT = '/sys/fs/bpf/admissions';
  const path = new Pins(ROOT).map('n64_admitted');
  const map = (maxEntries: number) => {
    const made = BpfMap.create({ type: 'hash', name: 'n64_admitted', keySize: 4, valueSize: 8, maxEntries });
    made.pin(path);
    return made;
  };
  const problems: string[] = [];
  const open = () => new Admissions({ pinRoot: ROOT, onProblem: (problem) => problems.push(problem) });

  beforeEach(() => {
    mkdirSync(new Pins(ROOT).mapFolder, { recursive: true });
    problems.length = 0;
  });
  afterEach(() => {
    unlinkSync(path);
    rmdirSync(new Pins(ROOT).mapFolder);
    rmdirSync(ROOT);
  });

  it('several processes write one map, and none shortens what another said', () => {
    using held = map(16);
    using a = open();
    using b = open();
    const entries = new TypedMap(held, be32Codec, u64Codec);
    a.admit(1, 1000);
    const first = entries.lookup(1) ?? 0n;
    expect(Number(first - monotonicNs()) / 1e9).to.be.within(990, 1000);
    b.admit(1, 10);
    expect(entries.lookup(1)).to.equal(first);
    a.admit(1, 1002);
    expect(entries.lookup(1), 'hardly more is not written').to.equal(first);
    b.admit(1, 2000);
    expect(Number((entries.lookup(1) ?? 0n) - first) / 1e9).to.be.within(990, 1010);
    expect(problems).to.deep.equal([]);
  });

  it('a full map forgets what has ended or ends first, and says so once', () => {
    using held = map(64);
    using admissions = open();
    for (let v4 = 1; v4 <= 64; v4++) admissions.admit(v4, 1000 + v4 * 10);
    admissions.admit(100, 5000);
    const entries = new TypedMap(held, be32Codec, u64Codec);
    expect(entries.lookup(100)).to.be.a('bigint');
    expect([...held.keys()]).to.have.length(57);
    expect([entries.lookup(1), entries.lookup(8)]).to.deep.equal([undefined, undefined]);
    expect(entries.lookup(9)).to.be.a('bigint');
    admissions.admit(1, 100);
    expect(entries.lookup(1), 'what was forgotten is written again').to.be.a('bigint');
    expect(problems).to.deep.equal(['full']);
  });

  it('says once that no map is there, or none that fits', () => {
    using wrong = BpfMap.create({ type: 'hash', name: 'other', keySize: 8, valueSize: 8, maxEntries: 4 });
    {
      using admissions = open();
      for (const v4 of [1, 2]) admissions.admit(v4, 100);
      expect(problems).to.deep.equal(['missing']);
    }
    wrong.pin(path);
    using admissions = open();
    for (const v4 of [1, 2]) admissions.admit(v4, 100);
    expect(problems).to.deep.equal(['missing', 'refused']);
  });
});
