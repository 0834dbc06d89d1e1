// SPDX-License-Identifier: Apache-2.0
// Static bindings in the maps (RFC 6146 §3.1): both sides or none, whatever an earlier process died of.

import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import type { StaticBinding } from '../../src/model/binding.ts';
import { bib4Codec, bib4KeyCodec, bib6Codec, bib6KeyCodec, NO_BLOCK, PROTOCOL } from '../../src/model/layout.gen.ts';
import { StaticStore } from '../../src/datapath/static-store.ts';
import { TypedMap } from '../../src/libbpf/mod.ts';
import { POD, POOL, type Plane, withPlane } from './plane.ts';

const BINDING: StaticBinding = {
  protocol: 'tcp',
  source: { v6: parseIp6(POD), port: 80 },
  pool: { v4: parseIp4(POOL), port: 40001 },
};
const OTHER: StaticBinding = { ...BINDING, protocol: 'udp' };
const KEY6 = { src: BINDING.source.v6, port: 80, protocol: PROTOCOL.TCP };
const KEY4 = { pool: BINDING.pool.v4, port: 40001, protocol: PROTOCOL.TCP };

const six = (plane: Plane) => new TypedMap(plane.maps.n64_bib6, bib6KeyCodec, bib6Codec);
const four = (plane: Plane) => new TypedMap(plane.maps.n64_bib4, bib4KeyCodec, bib4Codec);
const count = (plane: Plane) => plane.datapath.counts().bindings.tcp;

describe('static bindings', () => {
  it('N6146-3.1-d: are found by the next process, by protocol', () => {
    withPlane({}, (plane) => {
      const store = new StaticStore(plane.maps);
      expect(store.all()).to.deep.equal([]);
      store.put(BINDING);
      store.put(OTHER);
      expect(store.all()).to.have.deep.members([BINDING, OTHER]);
      const next = new StaticStore(plane.maps);
      expect(next.all()).to.have.deep.members([BINDING, OTHER]);
      expect(next.holders(BINDING)).to.deep.equal({ source: BINDING.source, pool: BINDING.pool });
      next.delete(OTHER);
      expect(next.all()).to.deep.equal([BINDING]);
      expect(new StaticStore(plane.maps).all()).to.deep.equal([BINDING]);
      next.put(BINDING);
      expect(count(plane), 'counted once').to.equal(1);
    });
  });

  for (const side of ['IPv6', 'IPv4'] as const) {
    it(`what stands on the ${side} side alone is taken away and can be made again`, () => {
      withPlane({}, (plane) => {
        new StaticStore(plane.maps).put(BINDING);
        if (side === 'IPv6') four(plane).delete(KEY4);
        else six(plane).delete(KEY6);
        const next = new StaticStore(plane.maps);
        expect(next.all()).to.deep.equal([]);
        expect(next.holders(BINDING)).to.deep.equal({ source: undefined, pool: undefined });
        expect(count(plane)).to.equal(0);
        next.put(BINDING);
        expect(new StaticStore(plane.maps).all()).to.deep.equal([BINDING]);
        expect(count(plane)).to.equal(1);
      });
    });

    it(`what stands on the ${side} side alone is made whole when it is put`, () => {
      withPlane({}, (plane) => {
        new StaticStore(plane.maps).put(BINDING);
        if (side === 'IPv6') four(plane).delete(KEY4);
        else six(plane).delete(KEY6);
        new StaticStore(plane.maps).put(BINDING);
        expect(new StaticStore(plane.maps).all()).to.deep.equal([BINDING]);
        expect(count(plane)).to.equal(1);
      });
    });
  }

  it('a port that somebody has is refused, and nothing of the binding stays', () => {
    withPlane(
      {},
      (plane) => {
        const pod2 = parseIp6('2001:db8:1::11');
        four(plane).update(KEY4, { src: pod2, port: 9, isStatic: 0 });
        const store = new StaticStore(plane.maps);
        expect(store.holders(BINDING)).to.deep.equal({ source: { v6: pod2, port: 9 }, pool: undefined });
        expect(() => store.put(BINDING)).to.throw('the IPv4 side of the static binding is in use now');
        expect(six(plane).lookup(KEY6)).to.equal(undefined);
        expect(count(plane)).to.equal(0);
        four(plane).delete(KEY4);
        const theirs = { createdNs: 1n, pool: KEY4.pool, port: 40002, isStatic: 0, refs: 1, block: 0 };
        six(plane).update(KEY6, theirs);
        expect(() => store.put(BINDING)).to.throw('the IPv6 side of the static binding has another binding now');
        expect(four(plane).lookup(KEY4)).to.equal(undefined);
        expect(count(plane)).to.equal(0);
      },
      false,
    );
  });

  it('nobody looks for them through the bindings of pods when there are none', () => {
    withPlane(
      {},
      (plane) => {
        six(plane).update(KEY6, { createdNs: 1n, pool: 1, port: 1, isStatic: 1, refs: 0, block: NO_BLOCK });
        // Were the table read, this would be found and taken away.
        expect(new StaticStore(plane.maps).all()).to.deep.equal([]);
        expect(six(plane).lookup(KEY6)).not.to.equal(undefined);
      },
      false,
    );
  });
});
