// SPDX-License-Identifier: Apache-2.0
// Which interfaces of the node are pods' (nat64.accelerate).

import type { Interface } from '../model/facts.ts';
import { MAX_POD_DEVICES } from '../model/layout.gen.ts';

/** The Ethernet ones that a pattern names, but `others`: the uplinks, gate64's own. In order of their indexes. */
export function podDevices(
  interfaces: readonly Interface[],
  patterns: readonly string[],
  others: readonly string[],
): Interface[] {
  const matches = patterns.map(
    (pattern) => new RegExp(`^${pattern.replaceAll('.', String.raw`\.`).replaceAll('*', '.*')}$`),
  );
  return interfaces
    .filter(({ name, linkType, isUp }) => {
      return isUp && linkType === 'ether' && !others.includes(name) && matches.some((pattern) => pattern.test(name));
    })
    .toSorted((a, b) => a.ifindex - b.ifindex)
    .slice(0, MAX_POD_DEVICES);
}
