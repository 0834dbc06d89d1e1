// SPDX-License-Identifier: Apache-2.0
// RFC 6052 and RFC 8215: prefixes, embedding and extraction, with the vectors V-1 and V-2.

import { expect } from 'chai';
import * as fc from 'fast-check';
import { formatIp4, formatIp6, parseIp4, parseIp6 } from '../../../src/addr/ip.ts';
import { neverIp4, nonGlobalIp4 } from '../../../src/addr/non-global.ts';
import {
  PREFIX_LENGTHS,
  WELL_KNOWN_PREFIX,
  embedIp4,
  extractIp4,
  extractWithAny,
  formatPrefix64,
  isWellKnownPrefix,
  parsePrefix64,
} from '../../../src/addr/rfc6052.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { holds } from '../../helpers/property.ts';

const V1: readonly [prefix: string, address: string, hex: string][] = [
  ['2001:db8::/32', '2001:db8:c000:221::', '20010db8c00002210000000000000000'],
  ['2001:db8:100::/40', '2001:db8:1c0:2:21::', '20010db801c000020021000000000000'],
  ['2001:db8:122::/48', '2001:db8:122:c000:2:2100::', '20010db80122c0000002210000000000'],
  ['2001:db8:122:300::/56', '2001:db8:122:3c0:0:221::', '20010db8012203c00000022100000000'],
  ['2001:db8:122:344::/64', '2001:db8:122:344:c0:2:2100:0', '20010db80122034400c0000221000000'],
  ['2001:db8:122:344::/96', '2001:db8:122:344::192.0.2.33', '20010db80122034400000000c0000221'],
  ['64:ff9b::/96', '64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221'],
];

/** The prefixes of V-1 and the local-use one, RFC 8215. */
const PREFIXES = [...V1.map(([text]) => text), '64:ff9b:1::/48', '64:ff9b:1:fffe::/96'].map(parsePrefix64);
const anyPrefix = fc.constantFrom(...PREFIXES);
const anyIp4 = fc.nat(0xffffffff);

function refusal(text: string): string {
  try {
    parsePrefix64(text);
  } catch (error) {
    expect(error).to.be.instanceOf(Gate64Error).with.property('code', 'G64_ADDRESS_INVALID');
    expect((error as Error).message).to.include(`"${text}"`);
    return (error as Error).message;
  }
  throw new Error(`${text} was accepted`);
}

function foldedSum(v6: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < 16; i += 2) sum += ((v6[i] as number) << 8) | (v6[i + 1] as number);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

describe('RFC 6052', () => {
  for (const [prefix, address, hex] of V1) {
    it(`A6052-2.2-d: V-1, 192.0.2.33 under ${prefix}`, () => {
      const v6 = embedIp4(parsePrefix64(prefix), parseIp4('192.0.2.33'));
      expect(Buffer.from(v6).toString('hex')).to.equal(hex);
      expect(Buffer.from(parseIp6(address)).toString('hex'), 'A6052-2.4-a').to.equal(hex);
      expect(formatIp4(extractIp4(parsePrefix64(prefix), v6) ?? 0)).to.equal('192.0.2.33');
    });
  }

  it('A6052-2.4-a: the RFC prints the /64 row unlike RFC 5952; octets are what counts', () => {
    expect(formatIp6(parseIp6('2001:db8:122:344:c0:2:2100::'))).to.equal('2001:db8:122:344:c0:2:2100:0');
  });

  it('A6052-2.1-a: the well-known prefix has no other length', () => {
    for (const length of [32, 40, 48, 56, 64]) expect(refusal(`64:ff9b::/${length}`)).to.match(/64:ff9b::\/96/);
    expect(isWellKnownPrefix(parsePrefix64('64:ff9b::/96'))).to.equal(true);
    expect(isWellKnownPrefix(parsePrefix64('64:ff9b:1::/96'))).to.equal(false);
    expect(isWellKnownPrefix(parsePrefix64('2001:db8::/96'))).to.equal(false);
  });

  it('A6052-2.2-a: of 0 to 128 six lengths are accepted', () => {
    const accepted = [];
    for (let length = 0; length <= 128; length++) {
      const text = length < 32 ? `::/${length}` : `2001:db8::/${length}`;
      try {
        accepted.push(parsePrefix64(text).length);
      } catch (error) {
        expect((error as Error).message).to.include('RFC 6052');
      }
    }
    expect(accepted).to.deep.equal([...PREFIX_LENGTHS]);
  });

  it('A6052-2.2-b: octet 8 is zero in whatever is made', () => {
    holds(
      fc.property(anyPrefix, anyIp4, (prefix, v4) => {
        expect(embedIp4(prefix, v4)[8]).to.equal(0);
      }),
    );
  });

  it('A6052-2.2-c: bits 64 to 71 and host bits must be zero', () => {
    expect(refusal('2001:db8:0:0:100::/96')).to.match(/64 to 71/);
    expect(refusal('2001:db8::1/96')).to.match(/2001:db8::\/96/);
    expect(refusal('2001:db8:1::/32')).to.match(/2001:db8::\/32/);
  });

  it('refuses what is no IPv6 prefix at all, saying what was expected', () => {
    for (const text of [
      '',
      '64:ff9b::',
      '192.0.2.0/24',
      '64:ff9b::/96 ',
      '64:ff9b::/096',
      'fe80::%1/96',
      'ff02::/96',
    ]) {
      refusal(text);
    }
  });

  it('A6052-2.2-e: A6052-2.3-a: D6147-5.2-b: extracting undoes embedding, and the suffix is zero', () => {
    holds(
      fc.property(anyPrefix, anyIp4, (prefix, v4) => {
        const v6 = embedIp4(prefix, v4);
        expect(extractIp4(prefix, v6)).to.equal(v4);
        const used = prefix.length === 96 ? 16 : prefix.length / 8 + 4 + (prefix.length > 32 ? 1 : 0);
        expect([...v6.subarray(used)].every((octet) => octet === 0)).to.equal(true);
      }),
    );
  });

  it('A6052-2.2-f: suffix bits are ignored', () => {
    const prefix = parsePrefix64('2001:db8:122:344::/64');
    const v6 = embedIp4(prefix, parseIp4('192.0.2.33'));
    v6.fill(0xff, 13);
    expect(formatIp4(extractIp4(prefix, v6) ?? 0)).to.equal('192.0.2.33');
  });

  it('A6052-2.2-g: a non-zero octet 8 is no embedded address', () => {
    for (const prefix of PREFIXES.filter(({ length }) => length < 96)) {
      const v6 = embedIp4(prefix, parseIp4('192.0.2.33'));
      v6[8] = 1;
      expect(extractIp4(prefix, v6), formatPrefix64(prefix)).to.equal(undefined);
    }
  });

  it('addresses outside a prefix are not its own', () => {
    holds(
      fc.property(anyPrefix, anyIp4, fc.nat(127), (prefix, v4, bit) => {
        const v6 = embedIp4(prefix, v4);
        v6[bit >> 3] = (v6[bit >> 3] as number) ^ (0x80 >> (bit & 7));
        if (bit < prefix.length) expect(extractIp4(prefix, v6)).to.equal(undefined);
      }),
    );
  });

  it('the first prefix that holds an address names it', () => {
    const v6 = parseIp6('2001:db8:122:344::192.0.2.33');
    const found = extractWithAny([WELL_KNOWN_PREFIX, ...PREFIXES.slice(5)], v6);
    expect([found && formatPrefix64(found.prefix), found && formatIp4(found.v4)]).to.deep.equal([
      '2001:db8:122:344::/96',
      '192.0.2.33',
    ]);
    expect(extractWithAny([WELL_KNOWN_PREFIX], v6)).to.equal(undefined);
  });

  it('A6052-4.1-a: V-2, which prefixes are checksum neutral', () => {
    const neutral = [
      '64:ff9b::',
      '64:ff9b:1:fffe::',
      '64:ff9b:1:fffd:1::',
      '64:ff9b:1:fffc:2::',
      '64:ff9b:1:abcd:0:5431::',
    ];
    for (const text of neutral) expect(foldedSum(parsePrefix64(`${text}/96`).v6), text).to.equal(0xffff);
    expect(foldedSum(parsePrefix64('64:ff9b:1::/96').v6)).to.equal(0x0001 + 0x0064 + 0xff9b - 0xffff);
    expect(foldedSum(parsePrefix64('2001:db8:122:344::/96').v6)).to.equal(0x321f);
  });

  it('A6052-4.1-a: under a neutral prefix an address and its IPv4 sum equal', () => {
    holds(
      fc.property(anyIp4, (v4) => {
        const sum = (v4 >>> 16) + (v4 & 0xffff);
        const folded = (sum & 0xffff) + (sum >>> 16);
        expect(foldedSum(embedIp4(WELL_KNOWN_PREFIX, v4)) % 0xffff).to.equal(folded % 0xffff);
      }),
    );
  });
});

describe('RFC 8215', () => {
  it('L8215-5-e: 64:ff9b:1::/48 and every legal length inside it', () => {
    for (const text of ['64:ff9b:1::/48', '64:ff9b:1:100::/56', '64:ff9b:1:1::/64', '64:ff9b:1::/96']) {
      expect(formatPrefix64(parsePrefix64(text))).to.equal(text);
    }
  });

  it('L8215-5-a: it is not the well-known prefix, whose restrictions do not hold for it', () => {
    expect(isWellKnownPrefix(parsePrefix64('64:ff9b:1::/96'))).to.equal(false);
  });

  it('L8215-5-b: no prefix is inferred from an address', () => {
    const v6 = parseIp6('64:ff9b:1::192.0.2.33');
    expect(extractWithAny([WELL_KNOWN_PREFIX], v6)).to.equal(undefined);
    expect(extractWithAny([parsePrefix64('64:ff9b:1:fffe::/96')], v6)).to.equal(undefined);
  });

  it('L8215-5-c: 64:ff9b::/47, which would hold it and the well-known prefix, is no prefix', () => {
    expect(() => parsePrefix64('64:ff9b::/47')).to.throw();
  });

  it('L8215-6-a: the checksum-neutral picks are accepted', () => {
    for (const text of [
      '64:ff9b:1:fffe::/96',
      '64:ff9b:1:fffd:1::/96',
      '64:ff9b:1:fffc:2::/96',
      '64:ff9b:1:abcd:0:5431::/96',
    ]) {
      expect(foldedSum(parsePrefix64(text).v6), text).to.equal(0xffff);
    }
  });
});

describe('non-global IPv4', () => {
  const edges: readonly [first: string, last: string, never: boolean][] = [
    ['0.0.0.0', '0.255.255.255', true],
    ['10.0.0.0', '10.255.255.255', false],
    ['100.64.0.0', '100.127.255.255', false],
    ['127.0.0.0', '127.255.255.255', true],
    ['169.254.0.0', '169.254.255.255', true],
    ['172.16.0.0', '172.31.255.255', false],
    ['192.0.0.0', '192.0.0.255', false],
    ['192.0.2.0', '192.0.2.255', false],
    ['192.168.0.0', '192.168.255.255', false],
    ['198.18.0.0', '198.19.255.255', false],
    ['198.51.100.0', '198.51.100.255', false],
    ['203.0.113.0', '203.0.113.255', false],
    ['224.0.0.0', '239.255.255.255', true],
    ['240.0.0.0', '255.255.255.255', true],
  ];
  for (const [first, last, never] of edges) {
    it(`A6052-3.1-a: ${first} to ${last}${never ? ', under no prefix at all' : ''}`, () => {
      for (const text of [first, last]) {
        expect(nonGlobalIp4(parseIp4(text)), text).to.not.equal(undefined);
        expect(neverIp4(parseIp4(text)) !== undefined, text).to.equal(never);
      }
    });
  }
  it('A6052-3.1-a: their neighbours are global', () => {
    const texts = [
      '1.0.0.0',
      '9.255.255.255',
      '11.0.0.0',
      '100.63.255.255',
      '100.128.0.0',
      '126.255.255.255',
      '128.0.0.0',
    ];
    const more = [
      '169.253.255.255',
      '169.255.0.0',
      '172.15.255.255',
      '172.32.0.0',
      '192.0.1.0',
      '192.0.3.0',
      '198.17.255.255',
    ];
    for (const text of [...texts, ...more, '198.20.0.0', '203.0.114.0', '223.255.255.255']) {
      expect(nonGlobalIp4(parseIp4(text)), text).to.equal(undefined);
    }
  });
});
