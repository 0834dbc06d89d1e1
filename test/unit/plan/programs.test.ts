// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { formatIp6Net } from '../../../src/addr/ip.ts';
import { parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import type { Prefix } from '../../../src/model/layout.gen.ts';
import { programsOf, testPrograms } from '../../helpers/programs.ts';
import { holds } from '../../helpers/property.ts';

const ALL = ['64:ff9b::/96', '2001:db8:1::/48', '2001:db8:2::/48', '2001:db8:64::/96', '2001:db8:3:400::/56'];

type Places = readonly Prefix[];

/** The places after a configuration with prefixes `texts`. */
function place(texts: readonly string[], before: Places = []): Places {
  return programsOf(testPrograms({ prefixes: texts.map(parsePrefix64) }), before).prefixes;
}

const shown = (places: Places) =>
  places.map(({ address, length }) => (length === 0 ? '' : formatIp6Net({ v6: address, length })));

describe('plan/programs', () => {
  const [a = '', b = '', c = ''] = ALL;

  it('a prefix keeps its place when others come, go or change their order', () => {
    const first = place([a, b]);
    expect(shown(first).slice(0, 3)).to.deep.equal([a, b, '']);
    expect(shown(place([b, a], first)).slice(0, 2)).to.deep.equal([a, b]);
    expect(shown(place([c, b, a], first)).slice(0, 3)).to.deep.equal([a, b, c]);
    const hole = place([b], first);
    expect(shown(hole).slice(0, 2)).to.deep.equal(['', b]);
    expect(shown(place([b, c], hole)).slice(0, 3)).to.deep.equal([c, b, '']);
  });

  it('a place without a prefix is of no address that a packet may have', () => {
    const [hole] = place([b], place([a, b]));
    expect(hole).to.deep.include({ length: 0, wellKnown: 0 });
    expect([...(hole?.address ?? [])]).to.deep.equal(Array.from({ length: 16 }, () => 0xff));
  });

  it('counts places up to the last prefix', () => {
    const config = (texts: string[], before: Places = []) =>
      programsOf(testPrograms({ prefixes: texts.map(parsePrefix64) }), before);
    expect(config([b], place([a, b])).prefixCount).to.equal(2);
    expect(config([a], place([a, b])).prefixCount).to.equal(1);
  });

  it('whatever the configurations, each has all its prefixes once and what stays stays', () => {
    const lists = fc.array(fc.shuffledSubarray(ALL, { minLength: 1 }), { minLength: 2, maxLength: 6 });
    holds(
      fc.property(lists, (configurations) => {
        let before: Places = [];
        let had: readonly string[] = [];
        for (const texts of configurations) {
          const now = place(texts, before);
          expect(shown(now).filter((text) => text !== '')).to.have.members(texts);
          for (const text of texts.filter((one) => had.includes(one)))
            expect(shown(now).indexOf(text)).to.equal(shown(before).indexOf(text));
          before = now;
          had = texts;
        }
      }),
    );
  });
});
