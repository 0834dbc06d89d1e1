// SPDX-License-Identifier: Apache-2.0
// What the node's FIB does with the packets of one flow, on either side of the translation, as `ip route get` tells.

import { formatIp4, formatIp6 } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import type { Interface } from '../model/facts.ts';
import { ipRows, type Exec } from './exec.ts';

/** One look-up in the FIB. */
export interface RouteAnswer {
  /** "unicast", "local", …; undefined: the kernel has no way, and `refused` says so. */
  readonly type: string | undefined;
  readonly device: string | undefined;
  readonly gateway: string | undefined;
  /** The kernel's own words. */
  readonly refused: string | undefined;
}

export interface FlowRoutes {
  /** From the node back to the pod. `local`: the address is the node's own. */
  readonly toSource: RouteAnswer;
  /** What becomes of the pod's packet. */
  readonly toPrefix: RouteAnswer;
  /** Where the translated packet goes. */
  readonly toDestination: RouteAnswer;
  /** State of the next hop there ("REACHABLE", "FAILED", …); undefined: the node has not asked for it, or no one has to. */
  readonly neighbour: string | undefined;
}

export interface FlowQuestion {
  readonly source: Uint8Array;
  readonly destination6: Uint8Array;
  readonly destination: number;
  /** gate64's device. */
  readonly device: string;
  /** Index of the interface that a direct way out writes to; undefined: the host stack routes. */
  readonly uplink: number | undefined;
  /** As whom the translated packet leaves, if that is known. */
  readonly pool: number | undefined;
}

/** `interfaces`: those of the node. */
export async function flowRoutes(
  exec: Exec,
  question: FlowQuestion,
  interfaces: readonly Interface[],
): Promise<FlowRoutes> {
  const { device, uplink, pool } = question;
  const name = interfaces.find(({ ifindex }) => ifindex === uplink)?.name;
  const [source, destination6] = [formatIp6(question.source), formatIp6(question.destination6)];
  const destination = formatIp4(question.destination);
  const toSource = await routeGet(exec, 6, [source]);
  const isOwn = toSource.type === 'local';
  const by = isOwn || toSource.device === undefined ? [] : ['iif', toSource.device];
  const toPrefix = await routeGet(exec, 6, [destination6, 'from', source, ...by]);
  const forwarded = pool === undefined ? [] : ['from', formatIp4(pool), 'iif', device];
  const toDestination = await routeGet(exec, 4, [destination, ...(name === undefined ? forwarded : ['oif', name])]);
  return { toSource, toPrefix, toDestination, neighbour: await neighbourOf(exec, toDestination, destination) };
}

interface RouteJson {
  readonly type?: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly via?: { readonly host?: string };
}

async function routeGet(exec: Exec, family: 4 | 6, words: readonly string[]): Promise<RouteAnswer> {
  const nothing = { type: undefined, device: undefined, gateway: undefined };
  try {
    const [row] = await ipRows<RouteJson>(exec, [`-${family}`, 'route', 'get', ...words]);
    if (row === undefined) return { ...nothing, refused: 'no answer' };
    const type = row.type ?? 'unicast';
    const refused = ['unreachable', 'blackhole', 'prohibit', 'throw'].includes(type) ? type : undefined;
    return {
      type: refused === undefined ? type : undefined,
      device: row.dev,
      gateway: row.gateway ?? row.via?.host,
      refused,
    };
  } catch (error) {
    // No route, a guard and a source that the node does not take are all told by a failure.
    const words = error instanceof Gate64Error ? /RTNETLINK answers: (.*)$/.exec(error.message)?.[1] : undefined;
    if (words === undefined) throw error;
    return { ...nothing, refused: words };
  }
}

async function neighbourOf(exec: Exec, route: RouteAnswer, destination: string): Promise<string | undefined> {
  const { device, gateway } = route;
  if (device === undefined || route.type !== 'unicast') return undefined;
  const family = gateway?.includes(':') === true ? '-6' : '-4';
  const rows = await ipRows<{ state?: string[] }>(exec, [
    family,
    'neighbour',
    'show',
    'to',
    gateway ?? destination,
    'dev',
    device,
  ]);
  return rows[0]?.state?.[0];
}
