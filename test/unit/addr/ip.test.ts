// SPDX-License-Identifier: Apache-2.0
// Addresses, networks and endpoints: text in, numbers and octets out, and back.

import { isIPv4, isIPv6 } from 'node:net';
import { expect } from 'chai';
import * as fc from 'fast-check';
import {
  formatEndpoint,
  formatIp4,
  formatIp4Net,
  formatIp6,
  formatIp6Net,
  ip4InNet,
  ip4Mask,
  ip4NetRange,
  ip4NetsOverlap,
  ip6InNet,
  parseEndpoint,
  parseIp4,
  parseIp4Net,
  parseIp6,
  parseIp6Net,
} from '../../../src/addr/ip.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { holds } from '../../helpers/property.ts';

const anyIp4 = fc.nat(0xffffffff);
const anyIp6 = fc.uint8Array({ minLength: 16, maxLength: 16 });

function refuses(parse: (text: string) => unknown, ...texts: string[]): void {
  for (const text of texts) {
    let error: unknown;
    try {
      parse(text);
    } catch (caught) {
      error = caught;
    }
    expect(error, `"${text}"`).to.be.instanceOf(Gate64Error).with.property('code', 'G64_ADDRESS_INVALID');
  }
}

describe('addresses', () => {
  it('IPv4: number → text → number', () => {
    holds(
      fc.property(anyIp4, (v4) => {
        expect(isIPv4(formatIp4(v4))).to.equal(true);
        expect(parseIp4(formatIp4(v4))).to.equal(v4);
      }),
    );
    expect(parseIp4('255.255.255.255')).to.equal(0xffffffff);
  });
  it('IPv6: octets → text → octets', () => {
    holds(
      fc.property(anyIp6, (v6) => {
        expect(isIPv6(formatIp6(v6))).to.equal(true);
        expect(parseIp6(formatIp6(v6))).to.deep.equal(v6);
      }),
    );
    expect(formatIp6(parseIp6('2001:DB8:0:0:1:0:0:1'))).to.equal('2001:db8::1:0:0:1');
  });
  it('refuses what merely looks like one', () => {
    refuses(parseIp4, '', '10.1', '010.0.0.1', '1.2.3.4.5', '256.0.0.1', '1.2.3.4 ', '::1', '0x7f000001');
    refuses(parseIp6, '', ':::', '192.0.2.1', 'fe80::1%eth0', '[::1]', '::g', '1::2::3');
  });
});

describe('networks', () => {
  it('IPv4: an address is in the network of its own prefix, and the range ends are its edges', () => {
    holds(
      fc.property(anyIp4, anyIp4, fc.nat(32), (a, b, length) => {
        const net = { v4: (a & ip4Mask(length)) >>> 0, length };
        const [first, last] = ip4NetRange(net);
        expect(ip4InNet(a, net)).to.equal(true);
        expect(ip4InNet(b, net)).to.equal(b >= first && b <= last);
        expect(last - first + 1).to.equal(2 ** (32 - length));
        expect(parseIp4Net(formatIp4Net(net))).to.deep.equal(net);
      }),
    );
  });
  it('IPv4: two networks overlap exactly when their ranges do', () => {
    const anyNet = fc.tuple(anyIp4, fc.integer({ min: 0, max: 8 })).map(([v4, length]) => ({
      v4: (v4 & ip4Mask(length)) >>> 0,
      length,
    }));
    holds(
      fc.property(anyNet, anyNet, (a, b) => {
        const [a0, a1] = ip4NetRange(a);
        const [b0, b1] = ip4NetRange(b);
        expect(ip4NetsOverlap(a, b)).to.equal(a0 <= b1 && b0 <= a1);
      }),
    );
  });
  it('IPv6: an address is in the network of its own prefix, and out of it when one bit of that differs', () => {
    holds(
      fc.property(anyIp6, fc.nat(128), fc.nat(127), (v6, length, bit) => {
        const masked = v6.map((octet, i) => octet & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))) & 0xff);
        const net = { v6: masked, length };
        expect(ip6InNet(v6, net)).to.equal(true);
        const flipped = Uint8Array.from(v6);
        flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (0x80 >> (bit & 7));
        expect(ip6InNet(flipped, net)).to.equal(bit >= length);
        expect(parseIp6Net(formatIp6Net(net))).to.deep.equal(net);
      }),
    );
  });
  it('one address is a network of one', () => {
    expect(parseIp4Net('192.0.2.1').length).to.equal(32);
    expect(parseIp6Net('2001:db8::1').length).to.equal(128);
  });
  it('refuses host bits, naming the network meant, and lengths that are none', () => {
    refuses(
      parseIp4Net,
      '192.0.2.1/24',
      '192.0.2.0/33',
      '192.0.2.0/-1',
      '192.0.2.0/024',
      '192.0.2/24',
      '192.0.2.0/',
      '/24',
    );
    refuses(parseIp6Net, '2001:db8::1/64', '2001:db8::/129', '2001:db8::/', '192.0.2.0/24', 'fe80::%1/64');
    expect(() => parseIp4Net('192.0.2.1/24')).to.throw(/192\.0\.2\.0\/24/);
    expect(() => parseIp6Net('2001:db8::1/64')).to.throw(/2001:db8::\/64/);
  });
});

describe('endpoints', () => {
  it('text → endpoint → text', () => {
    for (const text of ['192.0.2.1:53', '[2001:db8::1]:5364', '[::]:1', '0.0.0.0:65535']) {
      expect(formatEndpoint(parseEndpoint(text))).to.equal(text);
    }
    expect(parseEndpoint('[2001:DB8:0::1]:53').host).to.equal('2001:db8::1');
  });
  it('with a default port, port and brackets may be left out', () => {
    expect(formatEndpoint(parseEndpoint('192.0.2.1', 53))).to.equal('192.0.2.1:53');
    expect(formatEndpoint(parseEndpoint('2001:db8::1', 53))).to.equal('[2001:db8::1]:53');
    expect(formatEndpoint(parseEndpoint('[2001:db8::1]', 53))).to.equal('[2001:db8::1]:53');
    expect(formatEndpoint(parseEndpoint('192.0.2.1:5353', 53))).to.equal('192.0.2.1:5353');
  });
  it('refuses a missing port, ports out of range, names, and zones', () => {
    refuses(parseEndpoint, '192.0.2.1', '2001:db8::1', '192.0.2.1:0', '192.0.2.1:65536', '192.0.2.1:53x', ':53');
    refuses(parseEndpoint, 'dns.example:53', '2001:db8::1:53', '[fe80::1%eth0]:53', '[192.0.2.1]:53', '');
  });
});
