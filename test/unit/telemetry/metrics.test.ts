// SPDX-License-Identifier: Apache-2.0
// What /metrics says, given what the halves count.

import { expect } from 'chai';
import type { DnsObserver } from '../../../src/dns/observer.ts';
import { dnsCounters } from '../../../src/telemetry/dns-counters.ts';
import { METRICS } from '../../../src/telemetry/metric-list.ts';
import type { MetricsSource } from '../../../src/telemetry/metrics-source.ts';
import { Metrics } from '../../../src/telemetry/metrics.ts';

const SOURCE: MetricsSource = {
  ready: () => true,
  info: () => ({ egress: 'direct', attach: 'tcx', kernel: '6.18.0' }),
  packetCounters: () => [
    { direction: '6to4', protocol: 'tcp', packets: 10, bytes: 1000 },
    { direction: '4to6', protocol: 'tcp', packets: 12, bytes: 900 },
  ],
  drops: () => [
    { direction: '6to4', reason: 'pool_exhausted', count: 3 },
    { direction: '4to6', reason: 'pool_exhausted', count: 1 },
    { direction: '4to6', reason: 'filtered', count: 7 },
  ],
  counts: () => ({ sessions: { tcp: 2, udp: 1, icmp: 0 }, bindings: { tcp: 1, udp: 1, icmp: 1 } }),
  blockFills: () => [
    { address: '192.0.2.1', state: 'leased', size: 256, used: { tcp: 5, udp: 1, icmp: 0 } },
    { address: '192.0.2.1', state: 'offered', size: 256, used: { tcp: 0, udp: 0, icmp: 0 } },
  ],
  mapFill: () => [{ map: 'sessions', entries: 3, maxEntries: 1024 }],
};

/** Samples of gate64's and CoreDNS's names, `name{labels}` to value. */
async function samples(metrics: Metrics): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => /^(gate64|coredns)_/.test(line));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

describe('metrics', () => {
  let metrics: Metrics;
  beforeEach(() => {
    metrics = new Metrics({ version: '1.2.3' });
  });

  it('has every metric of the list, Node’s own beside them', async () => {
    const text = await metrics.text();
    for (const { name, type, help } of METRICS) {
      expect(text).to.include(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
    }
    expect(text)
      .to.match(/^process_resident_memory_bytes \d/m)
      .and.match(/^nodejs_eventloop_lag_seconds /m);
  });

  it('names version and Node', async () => {
    expect((await samples(metrics)).get(`gate64_build_info{version="1.2.3",nodejs="${process.version}"}`)).to.equal(1);
  });

  it('G6888-10-a: reads the data plane when it is scraped', async () => {
    metrics.setSource(SOURCE);
    const values = await samples(metrics);
    const expected: [string, number][] = [
      ['gate64_nat64_ready', 1],
      ['gate64_nat64_info{egress="direct",attach="tcx",kernel="6.18.0"}', 1],
      ['gate64_nat64_packets_total{direction="6to4",protocol="tcp"}', 10],
      ['gate64_nat64_bytes_total{direction="4to6",protocol="tcp"}', 900],
      ['gate64_nat64_drops_total{direction="4to6",reason="filtered"}', 7],
      ['gate64_nat64_allocation_failures_total{reason="pool_exhausted"}', 4],
      ['gate64_nat64_allocation_failures_total{reason="sessions_full"}', 0],
      ['gate64_nat64_sessions{protocol="tcp"}', 2],
      ['gate64_nat64_sessions{protocol="icmp"}', 0],
      ['gate64_nat64_bindings{protocol="icmp"}', 1],
      ['gate64_nat64_pool_ports{address="192.0.2.1",protocol="tcp",state="used"}', 5],
      ['gate64_nat64_pool_ports{address="192.0.2.1",protocol="tcp",state="free"}', 507],
      ['gate64_nat64_blocks{address="192.0.2.1",state="leased"}', 1],
      ['gate64_nat64_blocks{address="192.0.2.1",state="held"}', 0],
      ['gate64_nat64_map_entries{map="sessions"}', 3],
      ['gate64_nat64_map_max_entries{map="sessions"}', 1024],
    ];
    for (const [sample, value] of expected) expect(values.get(sample), sample).to.equal(value);
  });

  it('reads anew at every scrape, and forgets what is gone', async () => {
    metrics.setSource(SOURCE);
    await metrics.text();
    metrics.setSource({
      ...SOURCE,
      mapFill: () => [],
      packetCounters: () => [{ direction: '6to4', protocol: 'tcp', packets: 11, bytes: 1 }],
    });
    const values = await samples(metrics);
    expect(values.get('gate64_nat64_packets_total{direction="6to4",protocol="tcp"}')).to.equal(11);
    expect([...values.keys()].filter((name) => name.startsWith('gate64_nat64_map_entries'))).to.deep.equal([]);
    metrics.setSource(undefined);
    const down = await samples(metrics);
    expect(down.get('gate64_nat64_ready')).to.equal(0);
    expect([...down.keys()].filter((name) => name.startsWith('gate64_nat64_packets_total'))).to.deep.equal([]);
  });

  it('a map that cannot be read costs its own metrics alone', async () => {
    const errors: unknown[] = [];
    metrics = new Metrics({ version: '1', onSourceError: (error) => errors.push(error) });
    metrics.setSource({
      ...SOURCE,
      mapFill: () => {
        throw new Error('EPERM');
      },
    });
    const values = await samples(metrics);
    expect(values.get('gate64_nat64_ready')).to.equal(1);
    expect([...values.keys()].filter((name) => name.startsWith('gate64_nat64_map_'))).to.deep.equal([]);
    expect(errors.map(String)).to.deep.equal([
      'Error: gate64_nat64_map_entries could not be read',
      'Error: gate64_nat64_map_max_entries could not be read',
    ]);
  });

  it('reads each part once a scrape, and anew at the next, whether it can be read or not', async () => {
    const reads: Record<string, number> = {};
    const counting = Object.fromEntries(
      Object.entries(SOURCE).map(([part, read]: [string, () => unknown]) => [
        part,
        () => {
          reads[part] = (reads[part] ?? 0) + 1;
          if (part === 'mapFill') throw new Error('EPERM');
          return read();
        },
      ]),
    ) as unknown as MetricsSource;
    metrics.setSource(counting);
    await metrics.text();
    const parts = Object.keys(SOURCE);
    expect(reads).to.deep.equal(Object.fromEntries(parts.map((part) => [part, 1])));
    await Promise.all([metrics.text(), metrics.text()]);
    expect(reads).to.deep.equal(Object.fromEntries(parts.map((part) => [part, 3])));
  });

  it('counts what the DNS half reports', async () => {
    const observer: DnsObserver = dnsCounters(metrics, 'dns://127.0.0.1:5364');
    observer.request('udp', 'AAAA');
    observer.response('NOERROR', 0.003);
    observer.synthesized();
    observer.passthrough('aaaaExists');
    observer.upstream('192.0.2.53:53', 'timeout', 1.5);
    observer.cacheHit();
    observer.cacheMiss();
    observer.cacheMiss();
    metrics.setCacheEntries(() => 42);
    const values = await samples(metrics);
    const expected: [string, number][] = [
      ['gate64_dns_requests_total{proto="udp",type="AAAA"}', 1],
      ['gate64_dns_responses_total{rcode="NOERROR"}', 1],
      ['gate64_dns_request_duration_seconds_bucket{le="0.002"}', 0],
      ['gate64_dns_request_duration_seconds_bucket{le="0.004"}', 1],
      ['gate64_dns64_synthesized_total', 1],
      ['coredns_dns64_requests_translated_total{server="dns://127.0.0.1:5364"}', 1],
      ['gate64_dns64_passthrough_total{reason="aaaaExists"}', 1],
      ['gate64_dns_upstream_requests_total{to="192.0.2.53:53",rcode="timeout"}', 1],
      ['gate64_dns_upstream_duration_seconds_sum{to="192.0.2.53:53"}', 1.5],
      ['gate64_dns_cache_hits_total', 1],
      ['gate64_dns_cache_misses_total', 2],
      ['gate64_dns_cache_entries', 42],
    ];
    for (const [sample, value] of expected) expect(values.get(sample), sample).to.equal(value);
  });

  it('tells a refused reload from an accepted one', async () => {
    metrics.configReloaded(true, 1_000_000);
    metrics.configReloaded(false, 2_000_000);
    const values = await samples(metrics);
    expect(values.get('gate64_config_last_reload_successful')).to.equal(0);
    expect(values.get('gate64_config_last_reload_success_timestamp_seconds')).to.equal(1000);
  });

  it('two registries do not meet', async () => {
    const other = new Metrics({ version: '1.2.3' });
    metrics.counter('gate64_dns_cache_hits_total').inc();
    expect((await samples(other)).get('gate64_dns_cache_hits_total')).to.equal(0);
  });
});
