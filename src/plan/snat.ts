// SPDX-License-Identifier: Apache-2.0
// Rules of the node that may give its containers' flows a port of the pool: an address shared with the node is shared with
// its SNAT too, and neither asks the other. `ip_local_reserved_ports` keeps sockets away alone.

import { ip4InNet } from '../addr/ip.ts';
import type { Interface, SnatRule } from '../model/facts.ts';
import type { PoolRange } from '../model/pool.ts';
import type { Finding } from './findings.ts';
import { formatPoolRange } from './pool.ts';
import { shellWord } from './shell.ts';

/** One for each chain. */
export function snatFindings(
  pool: readonly PoolRange[],
  rules: readonly SnatRule[],
  interfaces: readonly Interface[],
): Finding[] {
  const found = new Map<string, Finding>();
  for (const range of pool.filter(({ shared }) => shared)) {
    for (const rule of rules) {
      const key = `${rule.family} ${rule.table} ${rule.chain}`;
      if (!found.has(key) && mayTake(rule, range, interfaces)) found.set(key, finding(rule, range));
    }
  }
  return [...found.values()];
}

function mayTake({ device, to, ports }: SnatRule, { net, firstPort, lastPort }: PoolRange, all: readonly Interface[]) {
  if (ports !== undefined && (ports[0] > lastPort || ports[1] < firstPort)) return false;
  if (to !== undefined) return ip4InNet(to, net);
  const leaving = all.find(({ name }) => name === device);
  return leaving === undefined || leaving.addresses4.some(({ v4 }) => ip4InNet(v4, net));
}

function finding({ family, table, chain, isRandom, ports }: SnatRule, range: PoolRange): Finding {
  const how = isRandom ? 'picks ports at random' : 'picks another port when one is taken';
  const within = ports === undefined ? 'any port' : `ports ${ports[0]}-${ports[1]}`;
  // What is beside the pool's ports, the larger part.
  const [from, to] =
    range.firstPort > 65536 - range.lastPort ? [1024, range.firstPort - 1] : [range.lastPort + 1, 65535];
  const own = 'Give the pool an address of its own (nat64.pool)';
  const narrower = `have the rule keep to other ports, for TCP and UDP: "masquerade to :${from}-${to}" in nftables, --to-ports ${from}-${to} in iptables`;
  const isKubeProxy = chain.startsWith('KUBE-');
  return {
    severity: 'warning',
    name: 'snat-any-port',
    message: `nat64.pool has ${formatPoolRange(range)}, an address of the node, and a rule of the chain "${chain}" of the nftables table ${family} ${table} ${how} for what leaves with it (${within}): answers may go to a pod instead, and those to pods to others`,
    remedy: isKubeProxy
      ? `${own}; kube-proxy's rule takes no range of ports.`
      : `${own}, or ${narrower}. To see it: nft list chain ${family} ${shellWord(table)} ${shellWord(chain)}`,
  };
}
