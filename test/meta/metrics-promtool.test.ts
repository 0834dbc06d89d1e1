// SPDX-License-Identifier: Apache-2.0
// Prometheus's own tool accepts what /metrics says, over HTTP, with every metric filled.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { DnsMetrics } from '../../src/dns/metrics.ts';
import { exposeNames } from '../../src/names/name-metrics.ts';
import { UsageTable } from '../../src/names/usage.ts';
import { Nat64Metrics } from '../../src/nat64/metrics.ts';
import { HttpEndpoint } from '../../src/telemetry/http.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { ServiceMetrics } from '../../src/telemetry/service-metrics.ts';
import { TestClock, fakeDatapath, flow } from '../unit/nat64/support.ts';
import { METRICS } from './lists.ts';

const run = promisify(execFile);

function filled(): Metrics {
  const metrics = new Metrics();
  new ServiceMetrics(metrics, '1.2.3', () => ({ now: 1, max: 2 })).configReloaded(true);
  const dns = new DnsMetrics(metrics, () => undefined);
  dns.request('udp', 'AAAA');
  dns.response('NOERROR', 0.001);
  dns.synthesized();
  dns.passthrough('aaaaExists');
  dns.clientRefused('udp', '192.0.2.1');
  dns.rateLimited('dropped');
  dns.upstream('[2001:db8::53]:53', 'NOERROR', 0.02);
  dns.cacheHit();
  dns.cacheMiss();
  const datapath = fakeDatapath(new TestClock());
  // Dropped, as there is no block yet.
  flow(datapath, 1, 1024);
  datapath.writeBlock(
    { index: 0, slot: 0, v4: 0xc0000201, firstPort: 1024, size: 256 },
    { tcp: [], udp: [], icmp: [] },
  );
  datapath.offerBlock(0);
  flow(datapath, 1, 1024);
  const nat64 = new Nat64Metrics(metrics);
  nat64.observeSweep(0.2);
  nat64.start({
    datapath,
    ready: () => true,
    egress: () => 'masquerade',
    fragments: () => ({ released: 1, expired: 1, refused: 1, evicted: 1 }),
  });
  const usage = new UsageTable();
  const ends = { pod: '2001:db8::1', name: 'example.com', destination: '192.0.2.1', isGuess: false };
  usage.add({ ...ends, sessions: 1, bytesOut: 1, bytesIn: 1, firstAt: 0, lastAt: 0 });
  exposeNames(metrics, usage, () => 1);
  return metrics;
}

async function promtool(text: string): Promise<{ code: number; output: string }> {
  const child = run('promtool', ['check', 'metrics']);
  child.child.stdin?.end(text);
  try {
    const { stdout, stderr } = await child;
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && typeof error.code === 'number')) throw error;
    const stderr = 'stderr' in error ? String(error.stderr) : '';
    return { code: error.code, output: stderr };
  }
}

describe('/metrics and Prometheus', () => {
  it('promtool finds nothing to complain about, with every metric there', async () => {
    await using endpoint = await HttpEndpoint.start({
      listen: { host: '127.0.0.1', port: 0 },
      metrics: filled(),
      status: () => {
        throw new Error('not asked');
      },
    });
    const text = await (await fetch(`http://127.0.0.1:${endpoint.port}/metrics`)).text();
    const sampled = new Set(
      [...text.matchAll(/^(\w+?)(?:_bucket|_sum|_count)?(?:\{.*\})? [^ ]+$/gm)].map((match) => match[1]),
    );
    expect(METRICS.map(({ name }) => name).filter((name) => !sampled.has(name))).to.deep.equal([]);
    expect(await promtool(text)).to.deep.equal({ code: 0, output: '' });
  });

  it('promtool would complain about a counter that is not named as one', async () => {
    const { code, output } = await promtool('# HELP x_count A count.\n# TYPE x_count counter\nx_count 1\n');
    expect(code).to.not.equal(0);
    expect(output).to.include('x_count');
  });
});
