// SPDX-License-Identifier: Apache-2.0
// Prometheus's own tool accepts what /metrics says, over HTTP, with every metric filled.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { dnsCounters } from '../../src/telemetry/dns-counters.ts';
import { startHttp } from '../../src/telemetry/http.ts';
import { METRICS } from '../../src/telemetry/metric-list.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';

const run = promisify(execFile);

function filled(): Metrics {
  const metrics = new Metrics({ version: '1.2.3' });
  const counters = dnsCounters(metrics, 'dns://127.0.0.1:5364');
  counters.request('udp', 'AAAA');
  counters.response('NOERROR', 0.001);
  counters.synthesized();
  counters.passthrough('aaaaExists');
  counters.upstream('[2001:db8::53]:53', 'NOERROR', 0.02);
  counters.cacheHit();
  counters.cacheMiss();
  metrics.setCacheEntries(() => 1);
  metrics.configReloaded(true);
  metrics.histogram('gate64_nat64_sweep_duration_seconds').observe(0.2);
  metrics.setSource({
    ready: () => true,
    info: () => ({ egress: 'masquerade', attach: 'clsact', kernel: '6.1.0-13-amd64' }),
    packetCounters: () => [{ direction: '6to4', protocol: 'tcp', packets: 2 ** 40, bytes: 2 ** 50 }],
    drops: () => [{ direction: '6to4', reason: 'dst_never', count: 1 }],
    counts: () => ({ sessions: { tcp: 1 }, bindings: { tcp: 1 } }),
    blockFills: () => [{ address: '192.0.2.1', state: 'leased', size: 256, used: { tcp: 1, udp: 0, icmp: 0 } }],
    mapFill: () => [{ map: 'n64_flow6', entries: 1, maxEntries: 1024 }],
  });
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
    await using endpoint = await startHttp({
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
