// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { parseFragment, type Fragment } from '../../../src/nat64/fragment.ts';
import { Reassembly, type HeldDatagram } from '../../../src/nat64/reassembly.ts';
import { cutIntoFragments } from '../../helpers/cut.ts';
import { bare, PROTO } from '../../helpers/packet.ts';
import { holds } from '../../helpers/property.ts';

const LIMITS = { bytes: 1 << 20, datagrams: 64, fragments: 64 };
const SERVER6 = '64:ff9b::198.51.100.7';

const parsed = (bytes: Uint8Array): Fragment => {
  const fragment = parseFragment(bytes);
  if (fragment === undefined) throw new Error('no fragment');
  return fragment;
};
const six = (length: number, size: number, id = 1, src = '2001:db8:1::1') =>
  cutIntoFragments(
    bare()
      .ip6({ src, dst: SERVER6 })
      .udp({ sport: 1, dport: 2 })
      .payload(Uint8Array.from({ length }, (_, i) => (i * 31) & 255))
      .l3(),
    size,
    id,
  ).map(parsed);

describe('fragments in user space', () => {
  it('are read from IPv4 and IPv6, behind other extension headers too; what is none is not', () => {
    const whole = bare()
      .ip4({ src: '198.51.100.7', dst: '203.0.113.5' })
      .udp({ sport: 1, dport: 2 })
      .payload('x'.repeat(40));
    const [first, second] = cutIntoFragments(whole.l3(), 24, 0xbeef).map(parsed);
    expect(first).to.include({ offset: 0, more: true });
    expect(second).to.include({ offset: 24, more: false });
    expect(second?.datagram).to.include({ id: 0xbeef, protocol: PROTO.udp });
    expect(Buffer.concat([first?.payload ?? [], second?.payload ?? []] as Uint8Array[])).to.deep.equal(
      Buffer.from(whole.l3().slice(20)),
    );
    expect(parseFragment(whole.l3())).to.equal(undefined);
    const behind = bare()
      .ip6({ src: '2001:db8::1', dst: SERVER6, nextHeader: 0 })
      .payload(Uint8Array.of(44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8));
    expect(parsed(behind.l3())).to.include({ offset: 8, more: false });
    expect(parsed(behind.l3()).payload).to.have.length(8);
    expect(parseFragment(bare().ip6({ src: '2001:db8::1', dst: SERVER6 }).payload('1234').l3())).to.equal(undefined);
  });

  it('whatever the bytes, reading them never throws', () => {
    holds(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.constantFrom(0x45, 0x4f, 0x60), (bytes, first) => {
        if (bytes.length > 0) bytes[0] = first;
        const fragment = parseFragment(bytes);
        if (fragment !== undefined) expect(fragment.packet.length).to.be.at.most(bytes.length);
      }),
      { runs: 2000 },
    );
  });
});

describe('reassembly', () => {
  it('in any order, with duplicates, a datagram is whole with its last missing fragment and no sooner', () => {
    holds(
      fc.property(
        fc.integer({ min: 17, max: 4000 }),
        fc.integer({ min: 8, max: 60 }).map((n) => n * 8),
        fc.infiniteStream(fc.nat()),
        (length, size, random) => {
          fc.pre(length + 8 > size && (length + 8) / size <= LIMITS.fragments);
          const fragments = six(length, size);
          const order = fragments
            .flatMap((fragment) => [fragment, fragment])
            .map((fragment) => ({ fragment, by: random.next().value as number }))
            .toSorted((a, b) => a.by - b.by)
            .map(({ fragment }) => fragment);
          const held = new Reassembly(LIMITS);
          const seen = new Set<Fragment>();
          let datagram: HeldDatagram | undefined;
          for (const fragment of order) {
            const added = held.add(fragment, 0);
            ({ datagram } = added);
            expect(added.taken).to.equal(seen.has(fragment) ? 'duplicate' : 'held');
            seen.add(fragment);
            expect(datagram.isWhole).to.equal(seen.size === fragments.length);
            expect(datagram.hasFirst).to.equal(seen.has(fragments[0] as Fragment));
          }
          expect(datagram?.fragments).to.deep.equal(fragments);
          held.remove(datagram as HeldDatagram);
          expect([held.size, held.bytes]).to.deep.equal([0, 0]);
        },
      ),
    );
  });

  it('an overlap ends the datagram, for what comes later too (RFC 5722)', () => {
    const [first, second, third] = six(100, 40) as [Fragment, Fragment, Fragment];
    const shifted = (by: number): Fragment => ({ ...second, offset: second.offset + by });
    const others: Fragment[] = [
      shifted(-8),
      shifted(8),
      { ...second, payload: second.payload.map((byte) => byte ^ 1) },
      { ...second, payload: second.payload.subarray(0, 32) },
      { ...second, more: false },
      { ...third, offset: 65_528 },
      { ...second, payload: second.payload.subarray(0, 39) },
      { ...third, payload: new Uint8Array(0) },
    ];
    for (const [index, other] of others.entries()) {
      const held = new Reassembly(LIMITS);
      const taken = [first, second, third, other].map((fragment) => held.add(fragment, 0));
      // Two that are wrong by themselves are so without the right ones.
      expect(taken.at(-1), String(index)).to.include({ taken: 'refused', refused: 4 });
      expect(held.add(first, 0)).to.include({ taken: 'refused', refused: 1 });
      expect(held.bytes).to.be.at.most(512);
    }
  });

  it('whatever comes, memory, datagrams and fragments stay within their limits', () => {
    const limits = { bytes: 40_000, datagrams: 10, fragments: 4 };
    const fragment = fc.record({
      sender: fc.nat(5),
      id: fc.nat(20),
      offset: fc.nat(12).map((n) => n * 8),
      size: fc.nat(200).map((n) => n * 8),
      more: fc.boolean(),
    });
    holds(
      fc.property(fc.array(fragment, { maxLength: 300 }), (all) => {
        const held = new Reassembly(limits);
        let gone = 0;
        for (const { sender, id, offset, size, more } of all) {
          const payload = new Uint8Array(size);
          const source = Uint8Array.of(10, 0, 0, sender);
          const datagram = { source, destination: source, id, protocol: 17 };
          const added = held.add({ datagram, offset, more, payload, packet: payload }, 0);
          gone += added.evicted + added.refused + (added.taken === 'duplicate' ? 1 : 0);
          expect(held.bytes).to.be.at.most(limits.bytes);
          expect(held.size).to.be.at.most(limits.datagrams);
        }
        const there = [...held.datagrams()];
        for (const datagram of there) expect(datagram.fragments.length).to.be.at.most(limits.fragments);
        expect(gone + there.reduce((sum, { fragments }) => sum + fragments.length, 0)).to.equal(all.length);
        for (const datagram of there) held.remove(datagram);
        expect([held.size, held.bytes]).to.deep.equal([0, 0]);
      }),
    );
  });

  it('a flood evicts the oldest of its own sender, nobody else’s', () => {
    const held = new Reassembly(LIMITS);
    const [mine] = six(100, 40, 1, '2001:db8:1::2') as [Fragment];
    held.add(mine, 0);
    for (let id = 0; id < 1000; id++) held.add((six(100, 40, id) as [Fragment])[0], 1);
    expect(held.size).to.equal(LIMITS.datagrams);
    const there = [...held.datagrams()];
    expect(there[0]?.id).to.deep.equal(mine.datagram);
    expect(there.at(-1)?.id.id).to.equal(999);
  });
});
