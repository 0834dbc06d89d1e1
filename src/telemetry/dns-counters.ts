// SPDX-License-Identifier: Apache-2.0
// Counts what the DNS half reports. The shape is that of the DNS half's observer, which lies above this room.

import type { Metrics } from './metrics.ts';

export interface DnsCounters {
  request(transport: string, type: string): void;
  response(rcode: string, seconds: number): void;
  synthesized(): void;
  passthrough(reason: string): void;
  upstream(to: string, rcode: string, seconds: number): void;
  cacheHit(): void;
  cacheMiss(): void;
}

/** `server` is the label that CoreDNS's dns64 plugin gives its counter, such as "dns://127.0.0.1:5364". */
export function dnsCounters(metrics: Metrics, server: string): DnsCounters {
  const requests = metrics.counter('gate64_dns_requests_total');
  const responses = metrics.counter('gate64_dns_responses_total');
  const durations = metrics.histogram('gate64_dns_request_duration_seconds');
  const synthesized = metrics.counter('gate64_dns64_synthesized_total');
  const translated = metrics.counter('coredns_dns64_requests_translated_total');
  const passthrough = metrics.counter('gate64_dns64_passthrough_total');
  const upstreamRequests = metrics.counter('gate64_dns_upstream_requests_total');
  const upstreamDurations = metrics.histogram('gate64_dns_upstream_duration_seconds');
  const hits = metrics.counter('gate64_dns_cache_hits_total');
  const misses = metrics.counter('gate64_dns_cache_misses_total');
  return {
    request: (proto, type) => requests.inc({ proto, type }),
    response(rcode, seconds) {
      responses.inc({ rcode });
      durations.observe(seconds);
    },
    synthesized() {
      synthesized.inc();
      translated.inc({ server });
    },
    passthrough: (reason) => passthrough.inc({ reason }),
    upstream(to, rcode, seconds) {
      upstreamRequests.inc({ to, rcode });
      upstreamDurations.observe({ to }, seconds);
    },
    cacheHit: () => hits.inc(),
    cacheMiss: () => misses.inc(),
  };
}
