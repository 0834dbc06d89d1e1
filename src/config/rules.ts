// SPDX-License-Identifier: Apache-2.0
// Rules that span several keys: pools that overlap or are too large, static bindings that meet, prefixes that hold each
// other, listeners that meet. They read the file's own values and leave out what the schema refuses anyway, so that all
// problems of a file are found at once.

import type { z } from 'zod';
import {
  formatEndpoint,
  formatIp4,
  formatIp4Net,
  formatIp6,
  formatIp6Net,
  ip4NetRange,
  ip4NetsOverlap,
  ip6InNet,
  type Endpoint,
  type Ip4Net,
} from '../addr/ip.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import { MAX_PREFIXES, MAX_SLOTS } from '../model/layout.gen.ts';
import { blocksOf, fittingBlockSize, MAX_BLOCKS } from './blocks.ts';
import { defaultPorts } from './pool.ts';
import { keyName, type Finding } from './problems.ts';
import { valueAt, type Path } from './tree.ts';
import {
  DEFAULTS,
  blockSize as blockSizeSchema,
  listenAddress,
  poolAddress,
  poolPorts,
  translationPrefix,
  transport4,
  transport6,
  upstream,
} from './schema.ts';
import type { PortRange } from './values.ts';

interface Located<T> {
  readonly path: Path;
  readonly value: T;
}

export function checkRules(raw: unknown): { errors: Finding[]; warnings: Finding[] } {
  const errors = [
    ...checkPrefixes(raw),
    ...checkPool(raw),
    ...checkNodeAddresses(raw),
    ...checkAccelerate(raw),
    ...checkStatic(raw),
    ...checkListeners(raw),
    ...checkWorkers(raw),
  ];
  return { errors, warnings: warnTimeouts(raw) };
}

/** The elements at `path` that `schema` takes; one value counts as a list of one. */
function elements<T>(raw: unknown, path: Path, schema: z.ZodType<T>, fallback?: unknown): Located<T>[] {
  const value = valueAt(raw, path) ?? fallback;
  const located = Array.isArray(value)
    ? value.map((item: unknown, i) => ({ path: [...path, i], item }))
    : [{ path, item: value }];
  return located.flatMap(({ path, item }) => {
    const result = schema.safeParse(item);
    return result.success ? [{ path, value: result.data }] : [];
  });
}

/** Another process would tell the NAT64 of an answer after it has left: a pod's first packet could be refused. */
function checkWorkers(raw: unknown): Finding[] {
  const path = ['dns', 'workers'];
  const workers = valueAt(raw, path);
  if (typeof workers !== 'number' || workers <= 1 || valueAt(raw, ['nat64', 'admit']) !== 'dns') return [];
  return [{ path, message: `dns.workers: ${workers} does not go with nat64.admit "dns"; expected 1 or auto` }];
}

function checkPrefixes(raw: unknown): Finding[] {
  const prefixes = elements<Prefix64>(raw, ['prefix'], translationPrefix);
  const overlaps = pairs(prefixes).flatMap(([first, second]) => {
    const [a, b] = [first.value, second.value];
    if (!(a.length <= b.length ? ip6InNet(b.v6, a) : ip6InNet(a.v6, b))) return [];
    const message = `${keyName(second.path)}: ${formatIp6Net(b)} overlaps ${keyName(first.path)} (${formatIp6Net(a)}); expected prefixes that do not hold each other`;
    return [{ path: second.path, message }];
  });
  if (prefixes.length <= MAX_PREFIXES) return overlaps;
  const message = `prefix: there are ${prefixes.length}; expected at most ${MAX_PREFIXES}`;
  return [...overlaps, { path: ['prefix'], message }];
}

interface PoolRow {
  readonly path: Path;
  readonly net: 'uplink' | Ip4Net;
  readonly ports: PortRange;
}

function poolRows(raw: unknown): PoolRow[] {
  const pool = valueAt(raw, ['nat64', 'pool']);
  if (!Array.isArray(pool)) return [];
  return pool.flatMap((_, i) => {
    const path = ['nat64', 'pool', i];
    return elements<'uplink' | Ip4Net>(raw, [...path, 'addresses'], poolAddress).flatMap(
      ({ path: addressPath, value }) => {
        const given = valueAt(raw, [...path, 'ports']) !== undefined;
        const ranges: Located<PortRange>[] = given
          ? elements<PortRange>(raw, [...path, 'ports'], poolPorts)
          : [{ path: addressPath, value: defaultPorts(value) }];
        return ranges.map((range) => ({
          path: range.path,
          net: value,
          ports: range.value,
        }));
      },
    );
  });
}

function checkPool(raw: unknown): Finding[] {
  const rows = poolRows(raw);
  const findings = pairs(rows).flatMap(([first, second]) => {
    if (!poolRowsMeet(first, second)) return [];
    const message = `${keyName(second.path)}: ${showRow(second)} overlaps ${keyName(first.path)} (${showRow(first)}); expected each address and port in one place`;
    return [{ path: second.path, message }];
  });
  if ((valueAt(raw, ['nat64', 'egress']) ?? 'masquerade') === 'masquerade') {
    for (const row of rows.filter((row) => row.net === 'uplink')) {
      findings.push({
        path: row.path,
        message: `${keyName(row.path)}: "uplink" is for nat64.egress "direct"; expected addresses that the host masquerades, such as 192.0.0.0/29`,
      });
    }
  }
  return [...findings, ...checkPoolSize(raw, rows)];
}

/** The direct way out leads to other hosts alone: packets pass the node's own stack by. */
function checkNodeAddresses(raw: unknown): Finding[] {
  const path = ['nat64', 'allowNodeAddresses'];
  const value = valueAt(raw, path);
  if (valueAt(raw, ['nat64', 'egress']) !== 'direct' || !Array.isArray(value) || value.length === 0) return [];
  const message = `${keyName(path)}: with nat64.egress "direct" packets do not come to the node itself; expected egress "masquerade", or none of these`;
  return [{ path, message }];
}

/** By masquerade the host stack has to see every packet. */
function checkAccelerate(raw: unknown): Finding[] {
  const path = ['nat64', 'accelerate'];
  const value = valueAt(raw, path);
  if (valueAt(raw, ['nat64', 'egress']) === 'direct' || !Array.isArray(value) || value.length === 0) return [];
  const message = `${keyName(path)}: with nat64.egress "masquerade" every packet goes through the host's stack; expected egress "direct", or none of these`;
  return [{ path, message }];
}

function checkPoolSize(raw: unknown, rows: readonly PoolRow[]): Finding[] {
  const nets = new Set(rows.map(({ net }) => (net === 'uplink' ? net : showNet(net))));
  const addresses = [...nets].reduce((sum, net) => sum + 2 ** (32 - Number(net.split('/')[1] ?? 32)), 0);
  if (addresses > MAX_SLOTS) {
    const message = `nat64.pool: it has ${addresses} addresses; expected at most ${MAX_SLOTS}`;
    return [{ path: ['nat64', 'pool'], message }];
  }
  const ranges = rows.map(({ net, ports }) => ({ addresses: net === 'uplink' ? 1 : 2 ** (32 - net.length), ...ports }));
  const given = blockSizeSchema.safeParse(valueAt(raw, ['nat64', 'blockSize']));
  const blockSize = given.success ? given.data : fittingBlockSize(ranges);
  const blocks = blocksOf(ranges, blockSize);
  if (blocks <= MAX_BLOCKS) return [];
  const message = `nat64.pool: it makes ${blocks} blocks of ${blockSize} ports; expected at most ${MAX_BLOCKS}: fewer addresses or a larger nat64.blockSize`;
  return [{ path: ['nat64', 'pool'], message }];
}

function poolRowsMeet(a: PoolRow, b: PoolRow): boolean {
  if (a.ports.firstPort > b.ports.lastPort || b.ports.firstPort > a.ports.lastPort) return false;
  if (a.net === 'uplink' || b.net === 'uplink') return a.net === b.net;
  return ip4NetsOverlap(a.net, b.net);
}

function showRow({ net, ports }: PoolRow): string {
  return `${net === 'uplink' ? net : showNet(net)} ports ${ports.firstPort}-${ports.lastPort}`;
}

function showNet(net: Ip4Net): string {
  return net.length === 32 ? formatIp4(ip4NetRange(net)[0]) : formatIp4Net(net);
}

function checkStatic(raw: unknown): Finding[] {
  const bindings = valueAt(raw, ['nat64', 'static']);
  if (!Array.isArray(bindings)) return [];
  const prefixes = elements<Prefix64>(raw, ['prefix'], translationPrefix, DEFAULTS.prefix);
  const rows = bindings.flatMap((_, i) => {
    const path = ['nat64', 'static', i];
    const source = elements(raw, [...path, 'ipv6'], transport6)[0];
    const pool = elements(raw, [...path, 'ipv4'], transport4)[0];
    return [{ path, protocol: valueAt(raw, [...path, 'protocol']), source, pool }];
  });
  const inPrefix = rows.flatMap(({ source }) => {
    const holder = prefixes.find(({ value }) => source !== undefined && ip6InNet(source.value.v6, value));
    if (source === undefined || holder === undefined) return [];
    const message = `${keyName(source.path)}: ${formatIp6(source.value.v6)} lies in the translation prefix ${formatIp6Net(holder.value)}; expected a pod's own address`;
    return [{ path: source.path, message }];
  });
  const doubled = pairs(rows).flatMap(([first, second]) => {
    if (first.protocol !== second.protocol) return [];
    // RFC 6146 §3.1: a binding is one to one, so neither side may stand twice.
    const [a, b, c, d] = [first.pool, second.pool, first.source, second.source];
    if (a && b && a.value.v4 === b.value.v4 && a.value.port === b.value.port) {
      return [doubledFinding(first.path, b.path, `${formatIp4(b.value.v4)}:${b.value.port}`)];
    }
    if (c && d && c.value.port === d.value.port && formatIp6(c.value.v6) === formatIp6(d.value.v6)) {
      return [doubledFinding(first.path, d.path, `[${formatIp6(d.value.v6)}]:${d.value.port}`)];
    }
    return [];
  });
  return [...inPrefix, ...doubled];
}

function doubledFinding(first: Path, second: Path, shown: string): Finding {
  const message = `${keyName(second)}: ${shown} is already bound by ${keyName(first)}; expected each address and port once a protocol`;
  return { path: second, message };
}

function checkListeners(raw: unknown): Finding[] {
  const dns = elements<Endpoint>(raw, ['dns', 'listen'], listenAddress, DEFAULTS.dnsListen);
  const http = elements<Endpoint>(raw, ['http', 'listen'], listenAddress, DEFAULTS.httpListen);
  const doubled = pairs([...dns, ...http]).flatMap(([first, second]) => {
    if (!sameEndpoint(first.value, second.value)) return [];
    const message = `${keyName(second.path)}: ${formatEndpoint(second.value)} is taken by ${keyName(first.path)}; expected an address and port of its own`;
    return [{ path: second.path, message }];
  });
  const loops = elements(raw, ['dns', 'upstreams'], upstream).flatMap(({ path, value }) => {
    const own = dns.find((listen) => sameEndpoint(listen.value, value.endpoint));
    if (own === undefined) return [];
    const message = `${keyName(path)}: ${formatEndpoint(value.endpoint)} is gate64 itself (${keyName(own.path)}); expected another resolver`;
    return [{ path, message }];
  });
  return [...doubled, ...loops];
}

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return formatEndpoint(a) === formatEndpoint(b);
}

/** RFC 7857 §2.1: the transitory timers may be lowered by the operator, who should know what it costs. */
function warnTimeouts(raw: unknown): Finding[] {
  const costs = {
    tcpTransitory: 'connections that open slowly may break',
    tcpClosing: 'segments that come late find their connection gone',
  };
  return Object.entries(costs).flatMap(([key, cost]) => {
    const path = ['nat64', 'timeouts', key];
    const value = valueAt(raw, path);
    if (typeof value !== 'number' || value >= 240) return [];
    return [{ path, message: `${keyName(path)}: ${value} is below 240 (RFC 6146 4); ${cost}` }];
  });
}

function pairs<T>(rows: readonly T[]): [T, T][] {
  return rows.flatMap((second, i) => rows.slice(0, i).map((first): [T, T] => [first, second]));
}
