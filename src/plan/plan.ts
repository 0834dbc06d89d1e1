// SPDX-License-Identifier: Apache-2.0
// plan(): from configuration and facts to everything that is to be true of the node and of its data plane. Pure: the same
// for a start, a reload, a repair and a way back.

import { formatIp4, formatIp4Net, formatIp6, formatIp6Net } from '../addr/ip.ts';
import { destinationRules } from '../addr/destinations.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import { blocksOf, fittingBlockSize, fittingQuota } from '../config/blocks.ts';
import type { Config } from '../config/config.ts';
import type { DatapathFacts, Interface, NodeFacts } from '../model/facts.ts';
import { MAX_RETURNS, MAX_UPLINKS } from '../model/layout.gen.ts';
import type { PoolRange } from '../model/pool.ts';
import { directCollisions, masqueradeCollisions, routeConflicts } from './collisions.ts';
import type { Desired, DesiredDatapath } from './desired.ts';
import { peerName } from '../model/device.ts';
import { deviceConflict, deviceMtu } from './device.ts';
import { FindingError, type Finding } from './findings.ts';
import { forwardDrops } from './forwarding.ts';
import { longPackets } from './long-packets.ts';
import { podDevices } from './pod-devices.ts';
import { poolRanges } from './pool.ts';
import { ruleConflicts } from './rules.ts';
import { parsePortList } from './ports.ts';
import { desiredPrograms } from './programs.ts';
import { desiredProxies, desiredRoutes, drainingRanges, errorNets, routedPoolNets, translatedNets } from './routes.ts';
import { snatFindings } from './snat.ts';
import { leavingSources, lostSources } from './sources.ts';
import {
  ALL_FORWARDING6,
  closedInterfaces,
  desiredSysctls,
  LIBERAL_TRACKING,
  LOCAL_PORT_RANGE,
  RESERVED_PORTS,
} from './sysctls.ts';
import { trackingFindings } from './tracking.ts';
import {
  errorSource6,
  findUplink,
  nodeAddresses4,
  nodeNets4,
  outsideInterfaces,
  returnInterfaces,
  uplinkAddress,
} from './uplink.ts';

/** This part of the pool's blocks is kept for pods that hold none. */
const RESERVED_PART = 16;
/** Fewer records of blocks are never asked for: a pool that grows must not replace the maps. */
const MIN_BLOCK_RECORDS = 16384;

/** Throws FindingError when nothing can be made of the configuration on this node. */
export function plan(config: Config, node: NodeFacts, datapath: DatapathFacts): Desired {
  const { nat64, prefixes } = config;
  const { interfaces } = node;
  const conflict = deviceConflict(interfaces, nat64.device);
  if (conflict !== undefined) throw conflict;
  const { uplink, pool, nodeAddresses, node6 } = wayOut(config, node);
  const routed = routedPoolNets([...pool, ...drainingRanges(pool, datapath, nodeAddresses)]);
  const isDirect = nat64.egress === 'direct';
  const proxies = isDirect ? desiredProxies(routed, uplink) : [];
  const outside = outsideInterfaces(interfaces, node.routes4, node.routes6, uplink);
  const own = [nat64.device, peerName(nat64.device)];
  const returns = isDirect ? returnInterfaces(interfaces, node.routes4, { uplink, own }).slice(0, MAX_RETURNS) : [];
  const accelerates = isDirect && nat64.accelerate.length > 0;
  const outsideNames = outside.map(({ name }) => name);
  const accelerated = accelerates ? podDevices(interfaces, nat64.accelerate, [...outsideNames, ...own]) : [];
  const translated = translatedNets(prefixes, nat64.destinations);
  const sysctls = desiredSysctls({
    device: nat64.device,
    // An address of the pool is answered for by ARP, and its packets are let in, on an interface that forwards alone.
    forwardingUplink: !isDirect || proxies.length > 0 ? uplink.name : undefined,
    pool,
    reserved: node.sysctl(RESERVED_PORTS) ?? '',
    // Nothing to be set where the kernel tracks no connections.
    liberalTracking: accelerates && node.sysctl(LIBERAL_TRACKING) !== undefined,
  });
  return {
    node: {
      device: { name: nat64.device, mtu: deviceMtu(interfaces, nat64.device) },
      sysctls,
      routes: desiredRoutes([...translated, ...errorNets(nat64.errorSources, node6, translated)], routed),
      proxies,
      masquerade: isDirect ? [] : routed,
      leaving: isDirect ? [] : leavingSources(interfaces, node.routes4, own),
      lost: isDirect ? [] : lostSources(node.masquerade, nodeAddresses),
      opened: isDirect ? [] : nat64.allowNodeAddresses,
      closed: closedInterfaces(node, sysctls),
      trackingTimes: {
        udp: nat64.timeouts.udp,
        tcpEstablished: nat64.timeouts.tcpEstablished,
        tcpTransitory: nat64.timeouts.tcpTransitory,
      },
      tcDevices: [...new Set([...returns, ...accelerated].map(({ name }) => name))],
    },
    datapath: desiredDatapath(config, node, datapath, { outside, returns, accelerated, pool, nodeAddresses, node6 }),
    egress: nat64.egress,
    uplinks: outside.map(({ name }) => name),
  };
}

interface WayOut {
  readonly uplink: Interface;
  /** nat64.pool as it stands on this node. */
  readonly pool: readonly PoolRange[];
  readonly nodeAddresses: readonly number[];
  /** Source of the ICMPv6 errors that the data plane makes. */
  readonly node6: Uint8Array;
}

function wayOut({ nat64, prefixes }: Config, { interfaces, routes4 }: NodeFacts): WayOut {
  const uplink = findUplink(interfaces, routes4, nat64);
  const nodeAddresses = nodeAddresses4(interfaces);
  const own = uplinkAddress(uplink, routes4);
  const pool = poolRanges(nat64.pool, { egress: nat64.egress, uplinkAddress: own, nodeAddresses });
  const node6 = errorSource6(prefixes[0] as Prefix64, own);
  return { uplink, pool, nodeAddresses, node6 };
}

/** Undefined while the device is not there. */
function desiredDatapath(
  { nat64, prefixes }: Config,
  { interfaces, routes4 }: NodeFacts,
  { places }: DatapathFacts,
  {
    outside,
    returns,
    accelerated,
    pool,
    nodeAddresses,
    node6,
  }: Omit<WayOut, 'uplink'> & {
    readonly outside: readonly Interface[];
    readonly returns: readonly Interface[];
    readonly accelerated: readonly Interface[];
  },
): DesiredDatapath | undefined {
  const device = interfaces.find(({ name }) => name === nat64.device);
  if (device === undefined) return undefined;
  const { allowNonGlobalIpv4, allowNodeAddresses, deny, allowSources, maxSessions } = nat64;
  const nodeNets = nodeNets4(routes4);
  const ranges = pool.map(({ net, firstPort, lastPort }) => ({
    addresses: 2 ** (32 - net.length),
    firstPort,
    lastPort,
  }));
  const blockSize = nat64.blockSize === 'auto' ? fittingBlockSize(ranges) : nat64.blockSize;
  const blocks = blocksOf(ranges, blockSize);
  const maxBlocksPerPod = nat64.maxBlocksPerPod === 'auto' ? fittingQuota(blocks) : nat64.maxBlocksPerPod;
  return {
    programs: desiredPrograms(
      prefixes,
      {
        ...nat64,
        maxBlocksPerPod,
        reservedBlocks: Math.floor(blocks / RESERVED_PART),
        accelerate: nat64.accelerate.length > 0,
      },
      { device, uplinks: outside, returns, node6, places },
    ),
    destinations: destinationRules({
      allowNonGlobalIpv4,
      deny,
      nodeAddresses,
      nodeNets: nodeNets.local,
      broadcastNets: nodeNets.broadcast,
      allowNodeAddresses,
      pool: pool.map(({ net }) => net),
    }),
    sources: allowSources,
    podDevices: accelerated.map(({ ifindex }) => ifindex),
    pool,
    blockSize,
    timeouts: nat64.timeouts,
    statics: nat64.static,
    nodeAddresses,
    sizes: {
      maxSessions,
      // Room for twice the pool.
      maxBlocks: Math.max(MIN_BLOCK_RECORDS, 2 ** Math.ceil(Math.log2(blocks * 2))),
    },
  };
}

/**
 * What is wrong with the node as it is for this configuration, whether it keeps gate64 from working or not. `node` must
 * have been looked at thoroughly: all tables of routes, sockets.
 */
export function findings(config: Config, node: NodeFacts): Finding[] {
  const { nat64, prefixes } = config;
  const { interfaces, routes4, routes6, sockets, record } = node;
  const found: Finding[] = [];
  const note = (error: unknown) => {
    if (!(error instanceof FindingError)) throw error;
    found.push(error.finding);
  };
  // After a change of nat64.device the old one is still there, and goes.
  const own = [nat64.device, record.device ?? nat64.device];
  const conflict = deviceConflict(interfaces, nat64.device);
  if (conflict !== undefined) note(conflict);
  const translated = translatedNets(prefixes, nat64.destinations);
  found.push(...routeConflicts(routes6, translated, own));
  const addresses6 = interfaces.flatMap((one) => one.addresses6.map(({ v6 }) => formatIp6(v6)));
  const rules6 = { family: 6, rules: node.rules6, routes: routes6, devices: own, nodeAddresses: addresses6 } as const;
  found.push(...ruleConflicts({ ...rules6, dsts: translated.map(formatIp6Net) }));
  try {
    const { uplink, pool } = wayOut(config, node);
    const beyond = outsideInterfaces(interfaces, routes4, routes6, uplink).slice(MAX_UPLINKS);
    if (beyond.length > 0) {
      found.push({
        name: 'uplinks-beyond',
        severity: 'warning',
        message: `too many interfaces lead outside; whoever is behind these may use the prefix: ${beyond.map(({ name }) => name).join(', ')}`,
        remedy: 'Name in nat64.allowSources who may use the gateway.',
      });
    }
    found.push(...longPackets(interfaces, returnInterfaces(interfaces, routes4, { uplink, own })));
    if (nat64.egress === 'masquerade') {
      const addresses4 = nodeAddresses4(interfaces).map(formatIp4);
      const rules4 = {
        family: 4,
        rules: node.rules4,
        routes: routes4,
        devices: own,
        nodeAddresses: addresses4,
      } as const;
      found.push(...ruleConflicts({ ...rules4, dsts: routedPoolNets(pool).map(formatIp4Net) }));
    }
    found.push(
      ...(nat64.egress === 'masquerade'
        ? masqueradeCollisions(pool, routes4, own)
        : directCollisions({ pool, routes4, sockets, ephemeral: ephemeralPorts(node), reserved: reservedPorts(node) })),
    );
    if (nat64.egress === 'direct') found.push(...snatFindings(pool, node.snatRules, interfaces));
  } catch (error) {
    note(error);
  }
  found.push(...forwardDrops(node.droppingForwards, nat64));
  if (nat64.egress === 'masquerade') found.push(...trackingFindings(node));
  if (node.sysctl(ALL_FORWARDING6) === '0') {
    const command = 'sysctl -w net.ipv6.conf.all.forwarding=1';
    found.push({
      name: 'forwarding-off',
      severity: 'warning',
      message:
        'the node does not forward IPv6 (net.ipv6.conf.all.forwarding is 0), so packets of pods do not reach gate64',
      remedy: `${command} (an uplink configured by router advertisements then needs accept_ra=2).`,
      command,
      isSafe: true,
    });
  }
  return found;
}

function ephemeralPorts(node: NodeFacts): [number, number] {
  const [first, last] = (node.sysctl(LOCAL_PORT_RANGE) ?? '').split(/\s+/).map(Number);
  return [first || 32768, last || 60999];
}

function reservedPorts(node: NodeFacts): Set<number> {
  return parsePortList(node.sysctl(RESERVED_PORTS) ?? '');
}
