// SPDX-License-Identifier: Apache-2.0
// What is wrong with the upstreams: those that do not answer, and those that do not over TCP.

import { formatEndpoint } from '../addr/ip.ts';
import type { Config } from '../config/config.ts';
import { RESOLV_CONF, readResolvConf } from '../dns/resolv-conf.ts';
import { checkUpstream } from '../dns/upstream-check.ts';
import { readAuthorities } from '../dns/upstream-tls.ts';
import { Gate64Error } from '../errors.ts';
import type { Finding } from '../plan/findings.ts';

/** Takes 2 s at most. A list of them, or authorities, that cannot be read are a finding too. */
export async function upstreamFindings(config: Pick<Config, 'dns'>): Promise<Finding[]> {
  try {
    return await lookAt(config);
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    return [{ name: 'upstream-unreachable', severity: 'warning', message: error.message, remedy: error.hint }];
  }
}

async function lookAt({ dns }: Pick<Config, 'dns'>): Promise<Finding[]> {
  const upstreams = dns.upstreams.length > 0 ? dns.upstreams : readResolvConf(RESOLV_CONF);
  const authorities = dns.tls.ca === '' ? [] : readAuthorities(dns.tls.ca);
  const found = upstreams.map(async (upstream): Promise<Finding[]> => {
    const at = formatEndpoint(upstream.endpoint);
    const { udp, stream } = await checkUpstream(upstream, authorities);
    const first = upstream.kind === 'tls' ? stream : udp;
    if (first !== undefined) {
      const message = `the upstream ${at} does not answer: ${first}`;
      const remedy = 'Start that resolver or open the way to it, or take it out of dns.upstreams.';
      return [{ name: 'upstream-unreachable', severity: 'warning', message, remedy }];
    }
    if (stream === undefined) return [];
    const message = `the upstream ${at} answers over UDP, but not over TCP: ${stream}`;
    const remedy = 'Have that resolver, or the firewall before it, take TCP on the same port (RFC 7766).';
    return [{ name: 'upstream-without-tcp', severity: 'warning', message, remedy }];
  });
  return (await Promise.all(found)).flat();
}
