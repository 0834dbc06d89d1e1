// SPDX-License-Identifier: Apache-2.0
// Routes and proxy neighbours of the node, as `ip` tells.

import { parseIp4 } from '../addr/ip.ts';
import type { ProxyNeighbour, Route, Rule } from '../model/facts.ts';
import { ipRows, type Exec } from './exec.ts';

const MAIN = 'main';

interface RouteJson {
  dst: string;
  type?: string;
  table?: string;
  dev?: string;
  gateway?: string;
  prefsrc?: string;
  protocol?: string;
  metric?: number;
  nexthops?: { dev?: string; gateway?: string }[];
}

/**
 * `tables`: all for conflicts with others; main, where gate64's own and the default routes are, and local for frequent
 * looks.
 */
export async function listRoutes(
  exec: Exec,
  family: 4 | 6,
  tables: 'all' | 'main' | 'local' = 'all',
): Promise<Route[]> {
  const rows = await ipRows<RouteJson>(exec, [`-${family}`, 'route', 'show', 'table', tables]);
  return rows.map((row): Route => {
    const hops = [row, ...(row.nexthops ?? [])];
    const whole = family === 4 ? '/32' : '/128';
    const any = family === 4 ? '0.0.0.0/0' : '::/0';
    return {
      family,
      dst: row.dst === 'default' ? any : row.dst.includes('/') ? row.dst : row.dst + whole,
      type: row.type ?? 'unicast',
      table: row.table ?? (tables === 'all' ? MAIN : tables),
      devices: hops.flatMap((hop) => hop.dev ?? []),
      gateways: hops.flatMap((hop) => hop.gateway ?? []),
      source: row.prefsrc,
      protocol: row.protocol,
      metric: row.metric ?? 0,
    };
  });
}

interface RuleJson {
  priority: number;
  src: string;
  srclen?: number;
  dst?: string;
  dstlen?: number;
  iif?: string;
  oif?: string;
  table?: string;
  action?: string;
  suppress_prefixlen?: number;
  [selector: string]: unknown;
}

export async function listRules(exec: Exec, family: 4 | 6): Promise<Rule[]> {
  const whole = family === 4 ? 32 : 128;
  return (await ipRows<RuleJson>(exec, [`-${family}`, 'rule', 'show'])).map((row): Rule => {
    const hasAny = (...keys: string[]) => keys.some((key) => key in row);
    return {
      priority: row.priority,
      src: row.srclen === undefined ? row.src : `${row.src}/${row.srclen}`,
      dst: row.dst === undefined ? undefined : `${row.dst}/${row.dstlen ?? whole}`,
      iif: row.iif,
      table: row.table,
      action: row.action,
      isInverted: hasAny('not'),
      isMarked: hasAny('fwmark'),
      isLocal: row.iif === 'lo' || hasAny('oif', 'uid_start', 'l3mdev'),
      isNarrow: hasAny('ipproto', 'sport', 'sport_start', 'dport', 'dport_start', 'tos', 'dsfield', 'dscp'),
      suppressedLength: row.suppress_prefixlen,
    };
  });
}

export async function listProxies(exec: Exec): Promise<ProxyNeighbour[]> {
  const rows = await ipRows<{ dst: string; dev: string }>(exec, ['-4', 'neighbour', 'show', 'proxy']);
  return rows.flatMap(({ dst, dev }) => (/^[\d.]+$/.test(dst) ? [{ v4: parseIp4(dst), device: dev }] : []));
}
