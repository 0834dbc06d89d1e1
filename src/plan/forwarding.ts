// SPDX-License-Identifier: Apache-2.0
// Firewalls of the node that drop packets on their way to gate64's device or from it.

import type { ForwardChain } from '../model/facts.ts';
import type { Finding } from './findings.ts';
import { shellWord } from './shell.ts';

/**
 * IPv6 packets are forwarded to the device and from it. IPv4 ones are in masquerade mode alone: the direct way out passes
 * the firewall by.
 */
export function forwardDrops(
  chains: readonly ForwardChain[],
  { device, egress }: { readonly device: string; readonly egress: 'masquerade' | 'direct' },
): Finding[] {
  return chains
    .filter(({ family, accepted }) => {
      if (family === 'ip' && egress === 'direct') return false;
      const takes = (direction: 'in' | 'out') =>
        accepted.some((one) => one.direction === direction && matches(one.device, device));
      // The first packet of a flow; others may pass as established.
      const needed = [
        ...(family === 'ip' ? [] : ['out' as const]),
        ...(family === 'ip6' || egress === 'direct' ? [] : ['in' as const]),
      ];
      return !needed.every(takes);
    })
    .map(({ family, table, name }) => {
      const insert = (key: string) => `insert rule ${family} ${table} ${name} ${key} "${device}" accept`;
      const command = `nft ${shellWord(`${insert('iifname')}; ${insert('oifname')}`)}`;
      return {
        name: 'forward-dropped',
        severity: 'warning',
        message: `the chain "${name}" of the nftables table ${family} ${table} drops forwarded packets, and no rule is seen that accepts those of ${device}`,
        remedy: `If pods reach nothing (rules that accept them otherwise make this harmless): ${command}; have your firewall (docker, ufw, firewalld) keep such a rule.`,
        command,
      };
    });
}

/** nft writes a wildcard as "gate*". */
function matches(pattern: string, device: string): boolean {
  return pattern.endsWith('*') ? device.startsWith(pattern.slice(0, -1)) : pattern === device;
}
