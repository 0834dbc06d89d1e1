// SPDX-License-Identifier: Apache-2.0
// What masquerade needs of the node's connection tracking: times of its own for pods' flows, and room.

import type { NodeFacts } from '../model/facts.ts';
import type { Finding } from './findings.ts';

export const TRACKED = 'netfilter/nf_conntrack_count';
export const TRACKED_MAX = 'netfilter/nf_conntrack_max';
/** From here on it is nearly full. */
const FULL_PART = 0.9;

/** How many flows of the node are tracked, and how many can be; undefined where nothing is. */
export function trackedFlows(sysctl: (name: string) => string | undefined): { now: number; max: number } | undefined {
  const [now, max] = [sysctl(TRACKED), sysctl(TRACKED_MAX)].map(Number) as [number, number];
  return now >= 0 && max > 0 ? { now, max } : undefined;
}

export function trackingFindings(node: NodeFacts): Finding[] {
  const found: Finding[] = [];
  if (node.masquerade?.times !== undefined && !node.masquerade.hasTimes) {
    found.push({
      name: 'tracking-times',
      severity: 'warning',
      message:
        "the kernel's connection tracking keeps its own times for masqueraded flows: UDP ends after 30 or 120 s, and closed TCP connections fill its table for two minutes",
      remedy:
        'Load the module nfnetlink_cttimeout, or use a kernel with CONFIG_NF_CONNTRACK_TIMEOUT, and restart gate64.',
    });
  }
  const flows = trackedFlows((name) => node.sysctl(name));
  if (flows !== undefined && flows.now >= flows.max * FULL_PART) {
    const command = `sysctl -w net.netfilter.nf_conntrack_max=${flows.max * 2}`;
    found.push({
      name: 'tracking-full',
      severity: 'warning',
      message: `the node's connection tracking holds ${flows.now} of ${flows.max} flows; when it is full, packets of the whole node are dropped`,
      remedy: `Give it more room: ${command}.`,
      command,
    });
  }
  return found;
}
