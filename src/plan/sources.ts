// SPDX-License-Identifier: Apache-2.0
// Which address masqueraded packets leave with. nftables takes the first one of the way out; where a route names another
// (`src`, as `default … src SECOND`), the node's own packets have that one, and pods' are to have it as well.

import { ip4InNet, parseIp4, parseIp4Net, type Ip4Net } from '../addr/ip.ts';
import type { Interface, LeavingSource, MasqueradeTable, Route } from '../model/facts.ts';

/** Each is a rule of nftables; a table of the internet with a `src` in every route is not to become as many. */
const MAX_SOURCES = 128;
const EVERYWHERE: Ip4Net = { v4: 0, length: 0 };

/** In the order to look at them; interfaces that masquerade serves as their routes say are not among them. */
export function leavingSources(
  interfaces: readonly Interface[],
  routes4: readonly Route[],
  own: readonly string[],
): LeavingSource[] {
  const routes = routes4.filter(({ type, table }) => type === 'unicast' && table === 'main');
  if (!routes.some(({ source }) => source !== undefined)) return [];
  const addresses = new Set(interfaces.flatMap(({ addresses4 }) => addresses4.map(({ v4 }) => v4)));
  return (
    interfaces
      // nftables has no way to write a name with a quotation mark.
      .filter(({ name }) => !own.includes(name) && !name.includes('"'))
      .flatMap((one) => sourcesOf(one, routes, addresses))
      .slice(0, MAX_SOURCES)
  );
}

/**
 * What packets left with by the table that is there, and the node has lost: connection tracking keeps such flows (it ends
 * only those of `masquerade`), and somebody else may have the address by now.
 */
export function lostSources(table: MasqueradeTable | undefined, nodeAddresses: readonly number[]): number[] {
  const used = [...(table?.lost ?? []), ...(table?.leaving ?? []).flatMap(({ source }) => source ?? [])];
  return [...new Set(used)].filter((v4) => !nodeAddresses.includes(v4)).slice(-MAX_SOURCES);
}

function sourcesOf(one: Interface, routes: readonly Route[], addresses: ReadonlySet<number>): LeavingSource[] {
  const device = one.name;
  const nets = new Map<string, LeavingSource>();
  for (const route of routes.toSorted((a, b) => a.metric - b.metric)) {
    if (!route.devices.includes(device) || nets.has(route.dst)) continue;
    const source = route.source === undefined ? undefined : parseIp4(route.source);
    // An address that the node has lost is nobody's to send from.
    const isOther = source !== undefined && addresses.has(source) && source !== masqueradeSource(one, route);
    nets.set(route.dst, { device, dst: parseIp4Net(route.dst), source: isOther ? source : undefined });
  }
  const all = [...nets.values()];
  if (all.every(({ source }) => source === undefined)) return [];
  // What leaves here without a route of the list has one of another table, and is masqueraded; unless all say the same.
  const [first] = all;
  if (all.every(({ source }) => source === first?.source)) return [{ device, dst: EVERYWHERE, source: first?.source }];
  return withoutNeedless(all.sort((a, b) => b.dst.length - a.dst.length || a.dst.v4 - b.dst.v4));
}

/** Without those that say what the next shorter one says; longest first. */
function withoutNeedless(sources: readonly LeavingSource[]): LeavingSource[] {
  return sources.filter(({ dst, source }, i) => {
    const wider = sources.slice(i + 1).find((other) => ip4InNet(dst.v4, other.dst));
    return source !== wider?.source;
  });
}

/** What `masquerade` takes (inet_select_addr): the first address whose network has the next hop, else the first. */
function masqueradeSource({ addresses4 }: Interface, { gateways, dst }: Route): number | undefined {
  const primary = addresses4.filter(({ secondary }) => !secondary);
  const hops =
    gateways.length > 0 ? gateways.filter((text) => /^[\d.]+$/.test(text)).map(parseIp4) : [parseIp4Net(dst).v4];
  return (primary.find((own) => hops.some((hop) => ip4InNet(hop, own))) ?? primary[0])?.v4;
}
