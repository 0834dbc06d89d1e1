// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { ip4NetRange, parseIp4, parseIp4Net } from '../../../src/addr/ip.ts';
import { poolRanges, type PoolContext } from '../../../src/plan/pool.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { poolAddresses, poolBlocks, type PoolBlock } from '../../../src/plan/blocks.ts';
import { holds } from '../../helpers/property.ts';
import { range } from '../nat64/support.ts';

const context: PoolContext = {
  egress: 'direct',
  uplinkAddress: parseIp4('203.0.113.2'),
  nodeAddresses: [parseIp4('203.0.113.2'), parseIp4('198.51.100.9')],
};
const entry = (addresses: 'uplink' | string[], firstPort = 61001, lastPort = 65535, portsGiven = true) => ({
  addresses: addresses === 'uplink' ? ('uplink' as const) : addresses.map(parseIp4Net),
  firstPort,
  lastPort,
  portsGiven,
});

function portsOf(blocks: readonly PoolBlock[]): string[] {
  return blocks.flatMap(({ v4, firstPort, size }) => Array.from({ length: size }, (_, i) => `${v4}:${firstPort + i}`));
}

const arbitraryRange = fc
  .record({
    host: fc.integer({ min: 0, max: 63 }),
    length: fc.integer({ min: 28, max: 32 }),
    ports: fc.tuple(fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 0, max: 3000 })),
  })
  .map(({ host, length, ports: [firstPort, more] }) => {
    const v4 = ((parseIp4('192.0.2.0') + host) & (0xffffffff << (32 - length))) >>> 0;
    return { net: { v4, length }, firstPort, lastPort: Math.min(65535, firstPort + more), shared: false };
  });

describe('nat64/pool', () => {
  it('single addresses, networks and several ranges of ports become blocks that cover them exactly', () => {
    const ranges = [range('192.0.2.7', 1, 1000), range('192.0.2.7', 5000, 5100), range('198.51.100.0/30', 1024, 65535)];
    const blocks = poolBlocks(ranges, 256);
    expect(poolAddresses(ranges).map(({ v4 }) => v4)).to.deep.equal(
      ['192.0.2.7', '198.51.100.0', '198.51.100.1', '198.51.100.2', '198.51.100.3'].map(parseIp4),
    );
    expect(
      blocks.filter(({ v4 }) => v4 === parseIp4('192.0.2.7')).map(({ firstPort, size }) => [firstPort, size]),
    ).to.deep.equal([
      [1, 256],
      [257, 256],
      [513, 256],
      [769, 232],
      [5000, 101],
    ]);
    expect(portsOf(blocks)).to.have.length(1000 + 101 + 4 * 64512);
  });

  it('whatever the ranges, every port of theirs lies in exactly one block and no other port does', () => {
    holds(
      fc.property(arbitraryRange, fc.integer({ min: 1, max: 1024 }), (one, blockSize) => {
        const blocks = poolBlocks([one], blockSize);
        const [first, last] = ip4NetRange(one.net);
        const expected: string[] = [];
        for (let v4 = first; v4 <= last; v4++) {
          for (let port = one.firstPort; port <= one.lastPort; port++) expected.push(`${v4}:${port}`);
        }
        expect(portsOf(blocks)).to.deep.equal(expected);
        expect(blocks.every(({ size }) => size >= 1 && size <= blockSize)).to.equal(true);
      }),
      { runs: 60 },
    );
  });

  it('"uplink" is the node’s own address, shared; ports that nobody gave stay above the node’s', () => {
    const shared = { net: parseIp4Net('203.0.113.2'), shared: true };
    expect(poolRanges([entry('uplink', 62000, 62999)], context)).to.deep.equal([
      { ...shared, firstPort: 62000, lastPort: 62999 },
    ]);
    expect(poolRanges([entry('uplink', 1024, 65535, false)], context)).to.deep.equal([
      { ...shared, firstPort: 61001, lastPort: 65535 },
    ]);
    expect(poolRanges([entry(['192.0.2.0/29'], 1024, 65535, false)], context)[0]).to.include({
      firstPort: 1024,
      shared: false,
    });
    expect(() => poolRanges([entry('uplink')], { ...context, uplinkAddress: undefined }))
      .to.throw(Gate64Error, /no IPv4 address/)
      .with.property('code', 'G64_NO_UPLINK');
  });

  it('refuses a network with an address of the node, and in masquerade mode the address itself', () => {
    const refused = (addresses: string[], egress: PoolContext['egress']) =>
      expect(() => poolRanges([entry(addresses)], { ...context, egress }), addresses.join()).to.throw(
        Gate64Error,
        /address of this node/,
      );
    refused(['198.51.100.8/30'], 'direct');
    refused(['203.0.113.2'], 'masquerade');
    refused(['203.0.113.0/24'], 'masquerade');
  });

  it('says how many addresses a node can have', () => {
    expect(poolRanges([entry(['10.0.0.0/22'], 1, 100), entry(['10.0.0.0/22'], 200, 300)], context)).to.have.length(2);
    expect(() => poolRanges([entry(['10.0.0.0/8'])], context)).to.throw(
      Gate64Error,
      /16777216 addresses.*1024 at most/,
    );
  });

  it('refuses ranges that give a port twice, also when one of them is "uplink"', () => {
    for (const [a, b] of [
      [entry(['192.0.2.0/24'], 1, 2000), entry(['192.0.2.7'], 2000, 3000)],
      [entry('uplink'), entry(['203.0.113.2'], 65000, 65535)],
    ] as const) {
      expect(() => poolRanges([a, b], context))
        .to.throw(Gate64Error, /overlap/)
        .with.property('code', 'G64_POOL_COLLISION');
    }
    expect(poolRanges([entry(['192.0.2.7'], 1, 1999), entry(['192.0.2.7'], 2000, 3000)], context)).to.have.length(2);
  });
});
