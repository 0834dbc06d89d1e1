// SPDX-License-Identifier: Apache-2.0
// What is wrong with the resolver that pods ask, such as CoreDNS, seen by its addresses of ipv4only.arpa (RFC 7050 §3): one
// that forwards to gate64's DNS64 has two under each prefix and no others.

import { formatEndpoint, parseIp6, type Endpoint } from '../addr/ip.ts';
import { extractWithAny, formatPrefix64, type Prefix64 } from '../addr/rfc6052.ts';
import type { Config } from '../config/config.ts';
import { WELL_KNOWN_ADDRESSES } from '../dns/ipv4only.ts';
import { RCODE, rcodeName } from '../dns/wire.ts';
import { Gate64Error } from '../errors.ts';
import type { Finding } from '../plan/findings.ts';
import type { CliContext } from './context.ts';
import type { LookupAnswer } from './lookup.ts';

const NAME = 'ipv4only.arpa';
const OUTSIDE = 'a.root-servers.net';

/** Asks once. Waits as long as `lookup` does. */
export async function resolverFindings(
  server: Endpoint,
  config: Pick<Config, 'dns' | 'prefixes'>,
  context: Pick<CliContext, 'lookup'>,
): Promise<Finding[]> {
  const at = formatEndpoint(server);
  try {
    const found = judge(at, await context.lookup(server, NAME, 'AAAA'), config);
    if (found !== undefined) return [found];
    // That name gate64 answers itself, as RFC 8880 has it; this one takes an upstream, whatever it says to it.
    const { rcode } = await context.lookup(server, OUTSIDE, 'A');
    return rcode === RCODE.SERVFAIL ? [withoutUpstream(at)] : [];
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    const remedy = 'Start that resolver or open the way to it; --server takes ADDRESS:PORT.';
    return [{ name: 'resolver-unreachable', severity: 'warning', message: error.message, remedy }];
  }
}

function withoutUpstream(at: string): Finding {
  return {
    name: 'resolver-unreachable',
    severity: 'warning',
    message: `the resolver ${at} forwards to gate64's DNS64, and answers ${OUTSIDE} with SERVFAIL: the DNS64's upstreams do not answer`,
    remedy:
      'Look at the gate64 that answers DNS: its `gate64 doctor` asks each upstream (in Kubernetes by default that of deployment/gate64-dns-a; pods without IPv4 need upstreams with IPv6).',
  };
}

function judge(
  at: string,
  answer: LookupAnswer,
  { dns, prefixes }: Pick<Config, 'dns' | 'prefixes'>,
): Finding | undefined {
  if (answer.rcode === RCODE.SERVFAIL) {
    return {
      name: 'resolver-unreachable',
      severity: 'warning',
      message: `the resolver ${at} answers ${NAME} with SERVFAIL: what it forwards to does not answer it`,
      remedy:
        'Look at what its "forward" names, and whether gate64 answers there: gate64 resolve ipv4only.arpa --server ADDRESS:PORT',
    };
  }
  const addresses = answer.records.map(({ address }) => address);
  if (addresses.length === 0) {
    // gate64 says so to who may not ask it, and CoreDNS hands that on.
    const refusedToo = answer.rcode === RCODE.REFUSED ? ' (where it does, name its network in dns.allowClients)' : '';
    const what = answer.rcode === RCODE.NOERROR ? 'no AAAA' : (rcodeName(answer.rcode) ?? `RCODE${answer.rcode}`);
    return {
      name: 'coredns-not-forwarding',
      severity: 'warning',
      message: `the resolver ${at} has ${what} for ${NAME}: it does not forward to a DNS64, and pods get no address for names with IPv4 alone`,
      remedy: `In its Corefile let the line for "." say: forward . ${forwardTarget(dns.listen)}${refusedToo}`,
    };
  }
  const others = addresses.filter((address) => !isOurs(address, prefixes));
  const expected = WELL_KNOWN_ADDRESSES.length * prefixes.length;
  if (others.length === 0 && addresses.length <= expected) return undefined;
  const ours = prefixes.map(formatPrefix64).join(', ');
  const what =
    others.length > 0
      ? `${others.join(', ')} for ${NAME}, which ${others.length === 1 ? 'is' : 'are'} not of ${ours}`
      : `${addresses.length} addresses for ${NAME}, where ${ours} gives ${expected}`;
  return {
    name: 'dns64-doubled',
    severity: 'warning',
    message: `the resolver ${at} has ${what}: another DNS64 than gate64's synthesizes`,
    remedy: `Take the plugin dns64 out of its Corefile; where it has none, give every gate64 the same prefix (here ${ours}).`,
  };
}

function isOurs(address: string, prefixes: readonly Prefix64[]): boolean {
  const found = extractWithAny(prefixes, parseIp6(address));
  return found !== undefined && WELL_KNOWN_ADDRESSES.includes(found.v4);
}

/** Of CoreDNS's plugin: where gate64 listens, if that is one address. */
function forwardTarget(listen: readonly Endpoint[]): string {
  const named = listen.find(({ host }) => host !== '::' && host !== '0.0.0.0');
  return named === undefined ? "ADDRESS:PORT of gate64's DNS" : formatEndpoint(named);
}
