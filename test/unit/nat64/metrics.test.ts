// SPDX-License-Identifier: Apache-2.0
// What the NAT64 half's metrics say of a data plane.

import { release } from 'node:os';
import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import { NAT64_METRICS, Nat64Metrics } from '../../../src/nat64/metrics.ts';
import { Metrics } from '../../../src/telemetry/metrics.ts';
import { named, samples } from '../telemetry/samples.ts';
import { TestClock, fakeDatapath, flow, passed } from './support.ts';

const PARTS = ['packetCounters', 'drops', 'counts', 'blocks', 'mapFill', 'info'] as const;

/** One pod with two sessions on one of two blocks, and three flows that found the pool empty. */
function busyDatapath(): FakeDatapath {
  const datapath = fakeDatapath(new TestClock(), {}, 1024);
  datapath.setPoolAddresses([{ v4: parseIp4('192.0.2.1'), slot: 0, shared: false, draining: false }]);
  for (let n = 1; n <= 3; n++) flow(datapath, n, 5000);
  for (const [index, firstPort] of [1024, 1280].entries()) {
    const block = { index, slot: 0, v4: parseIp4('192.0.2.1'), firstPort, size: 256 };
    datapath.writeBlock(block, { tcp: [], udp: [], icmp: [] });
    datapath.offerBlock(index);
  }
  passed(flow(datapath, 1, 5000, 'tcp'));
  passed(flow(datapath, 1, 5000, 'tcp', '198.51.100.2'));
  return datapath;
}

const FRAGMENTS = { released: 5, expired: 4, refused: 3, evicted: 2 };

describe('metrics of the NAT64 half', () => {
  let metrics: Metrics;
  let nat64: Nat64Metrics;
  let errors: unknown[];
  let datapath: FakeDatapath;
  const start = () => nat64.start({ datapath, ready: () => true, egress: () => 'direct', fragments: () => FRAGMENTS });

  beforeEach(() => {
    errors = [];
    metrics = new Metrics({ onSourceError: (error) => errors.push(error) });
    nat64 = new Nat64Metrics(metrics);
    datapath = busyDatapath();
  });

  it('every one is there from the first, and says that nothing is ready', async () => {
    const text = await metrics.text();
    for (const { name, type, help } of Object.values(NAT64_METRICS)) {
      expect(text).to.include(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
    }
    expect((await samples(metrics)).get('gate64_nat64_ready')).to.equal(0);
  });

  it('reads the data plane when it is scraped', async () => {
    start();
    nat64.observeSweep(0.2);
    const values = await samples(metrics);
    const expected: [string, number][] = [
      ['gate64_nat64_ready', 1],
      [`gate64_nat64_info{egress="direct",attach="tcx",kernel="${release()}"}`, 1],
      ['gate64_nat64_packets_total{direction="6to4",protocol="tcp"}', 2],
      ['gate64_nat64_bytes_total{direction="6to4",protocol="tcp"}', 200],
      ['gate64_nat64_drops_total{direction="6to4",reason="pool_exhausted"}', 3],
      ['gate64_nat64_allocation_failures_total{reason="pool_exhausted"}', 3],
      ['gate64_nat64_allocation_failures_total{reason="sessions_full"}', 0],
      ['gate64_nat64_sessions{protocol="tcp"}', 2],
      ['gate64_nat64_sessions{protocol="icmp"}', 0],
      ['gate64_nat64_bindings{protocol="tcp"}', 1],
      ['gate64_nat64_pool_ports{address="192.0.2.1",protocol="tcp",state="used"}', 1],
      ['gate64_nat64_pool_ports{address="192.0.2.1",protocol="tcp",state="free"}', 511],
      ['gate64_nat64_blocks{address="192.0.2.1",state="offered"}', 1],
      ['gate64_nat64_blocks{address="192.0.2.1",state="leased"}', 1],
      ['gate64_nat64_blocks{address="192.0.2.1",state="resting"}', 0],
      ['gate64_nat64_blocks{address="192.0.2.1",state="retired"}', 0],
      ['gate64_nat64_pods_unpaired', 0],
      ['gate64_nat64_map_entries{map="flow6"}', 2],
      ['gate64_nat64_map_max_entries{map="flow6"}', 1024],
      ['gate64_nat64_sweep_duration_seconds_sum', 0.2],
    ];
    for (const [sample, value] of expected) expect(values.get(sample), sample).to.equal(value);
  });

  it('reads anew at every scrape, and forgets what is gone', async () => {
    start();
    await metrics.text();
    passed(flow(datapath, 1, 5000, 'tcp'));
    datapath.mapFill = () => [];
    const values = await samples(metrics);
    expect(values.get('gate64_nat64_packets_total{direction="6to4",protocol="tcp"}')).to.equal(3);
    expect(named(values, 'gate64_nat64_map_')).to.deep.equal([]);
    nat64.stop();
    const down = await samples(metrics);
    expect(down.get('gate64_nat64_ready')).to.equal(0);
    expect(named(down, 'gate64_nat64_').filter((name) => name.includes('{') && !name.includes('le='))).to.deep.equal(
      [],
    );
  });

  it('drops of one reason in either direction are one kind of failure', async () => {
    const drop = { reason: 'pool_exhausted', last: undefined } as const;
    datapath.drops = () => [
      { ...drop, direction: '6to4', count: 3 },
      { ...drop, direction: '4to6', count: 1 },
    ];
    start();
    expect((await samples(metrics)).get('gate64_nat64_allocation_failures_total{reason="pool_exhausted"}')).to.equal(4);
  });

  it('a map that cannot be read costs its own metrics alone', async () => {
    datapath.mapFill = () => {
      throw new Error('EPERM');
    };
    start();
    const values = await samples(metrics);
    expect(values.get('gate64_nat64_ready')).to.equal(1);
    expect(named(values, 'gate64_nat64_map_')).to.deep.equal([]);
    expect(errors.map(String)).to.deep.equal([
      'Error: gate64_nat64_map_entries, gate64_nat64_map_max_entries could not be read',
    ]);
  });

  it('reads each part once a scrape, and anew at the next, whether it can be read or not', async () => {
    const reads = new Map<string, number>();
    for (const part of PARTS) {
      const read = datapath[part].bind(datapath) as () => never;
      datapath[part] = () => {
        reads.set(part, (reads.get(part) ?? 0) + 1);
        if (part === 'mapFill') throw new Error('EPERM');
        return read();
      };
    }
    start();
    // A second start takes the place of the first.
    start();
    await metrics.text();
    expect(Object.fromEntries(reads)).to.deep.equal(Object.fromEntries(PARTS.map((part) => [part, 1])));
    await Promise.all([metrics.text(), metrics.text()]);
    expect(Object.fromEntries(reads)).to.deep.equal(Object.fromEntries(PARTS.map((part) => [part, 3])));
  });
});
