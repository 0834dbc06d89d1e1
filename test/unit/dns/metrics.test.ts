// SPDX-License-Identifier: Apache-2.0
// What the DNS half counts, and that a reload neither loses counts nor leaves anything behind.

import { expect } from 'chai';
import { parseEndpoint } from '../../../src/addr/ip.ts';
import { parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import { DnsService, type DnsOptions } from '../../../src/dns/dns.ts';
import type { KernelStats } from '../../../src/dns/hot.ts';
import { DNS_METRICS, DnsMetrics } from '../../../src/dns/metrics.ts';
import { Metrics, type Reading } from '../../../src/telemetry/metrics.ts';
import { destinations } from './harness.ts';
import { samples } from '../telemetry/samples.ts';

/** Knows how much is read at a scrape. */
class CountingMetrics extends Metrics {
  readings = 0;

  override onScrape(reading: Reading): () => void {
    const end = super.onScrape(reading);
    this.readings++;
    return () => {
      this.readings--;
      end();
    };
  }
}

describe('metrics of the DNS half', () => {
  let metrics: CountingMetrics;
  let observer: DnsMetrics;
  let told: string[];
  let kernel: KernelStats | undefined;
  beforeEach(() => {
    metrics = new CountingMetrics();
    told = [];
    kernel = undefined;
    observer = new DnsMetrics(
      metrics,
      () => ({ cacheEntries: 42, cacheBytes: 4200, kernel, inFlight: 0, upstreams: [], failing: [] }),
      (address) => told.push(address),
    );
    observer.setListen([parseEndpoint('127.0.0.1:5364'), parseEndpoint('[::1]:5364')]);
  });

  it('every one is there from the first', async () => {
    const text = await metrics.text();
    for (const { name, type, help } of Object.values(DNS_METRICS)) {
      expect(text).to.include(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
    }
  });

  it('what the kernel gives counts apart, and stays where the kernel gives up', async () => {
    const figures = async () => {
      const text = await metrics.text();
      return ['gate64_dns_kernel_answers_total', 'gate64_dns_kernel_entries'].map((name) =>
        Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]),
      );
    };
    expect(await figures()).to.deep.equal([0, 0]);
    kernel = { entries: 3, answered: 100, passed: 2, interfaces: ['lo'] };
    expect(await figures()).to.deep.equal([100, 3]);
    kernel = { ...kernel, answered: 150 };
    expect(await figures()).to.deep.equal([150, 3]);
    kernel = undefined;
    expect(await figures(), 'given up').to.deep.equal([150, 0]);
  });

  it('counts what is reported', async () => {
    observer.request('udp', 'AAAA');
    observer.response('NOERROR', 0.003);
    observer.synthesized();
    observer.passthrough('aaaaExists');
    observer.upstream('192.0.2.53:53', 'timeout', 1.5);
    observer.cacheHit();
    observer.cacheMiss();
    observer.cacheMiss();
    observer.clientRefused('tcp', '192.0.2.1');
    observer.clientRefused('tcp', '192.0.2.2');
    observer.rateLimited('dropped');
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
      ['gate64_dns_cache_bytes', 4200],
      ['gate64_dns_clients_refused_total{proto="tcp"}', 2],
      ['gate64_dns_rate_limited_total{action="dropped"}', 1],
    ];
    for (const [sample, value] of expected) expect(values.get(sample), sample).to.equal(value);
    expect(told, 'once an hour').to.deep.equal(['192.0.2.1']);
  });

  it('CoreDNS’s label follows the first address listened on, without a scrape in between', async () => {
    observer.synthesized();
    observer.setListen([parseEndpoint('[2001:db8::1]:53')]);
    observer.synthesized();
    observer.synthesized();
    const values = await samples(metrics);
    expect(values.get('coredns_dns64_requests_translated_total{server="dns://127.0.0.1:5364"}')).to.equal(1);
    expect(values.get('coredns_dns64_requests_translated_total{server="dns://[2001:db8::1]:53"}')).to.equal(2);
    expect(values.get('gate64_dns64_synthesized_total')).to.equal(3);
  });

  it('a hundred reloads leave nothing behind, and counts go on', async () => {
    const options: DnsOptions = {
      prefixes: [parsePrefix64('2001:db8:64::/96')],
      listen: [{ family: 4, host: '127.0.0.1', port: 0 }],
      upstreams: [{ kind: 'plain', endpoint: parseEndpoint('192.0.2.53:53') }],
      translateAll: false,
      excludeAaaa: [],
      destinations: destinations(),
      cache: { maxEntries: 10, maxBytes: 2 ** 24 },
      observer,
    };
    const dns = await DnsService.start(options);
    try {
      observer.cacheHit();
      const before = { readings: metrics.readings, names: [...(await samples(metrics)).keys()] };
      for (let i = 0; i < 100; i++) {
        await dns.reload({ ...options });
        observer.setListen(options.listen);
        observer.cacheHit();
      }
      const values = await samples(metrics);
      expect({ readings: metrics.readings, names: [...values.keys()] }).to.deep.equal(before);
      expect(values.get('gate64_dns_cache_hits_total')).to.equal(101);
      // Who made the counters anew at a reload would be told.
      expect(() => new DnsMetrics(metrics, () => undefined)).to.throw(/already/);
    } finally {
      await dns.stop();
    }
  });
});
