// SPDX-License-Identifier: Apache-2.0
// What a node that gate64 made ready has lost or changed since. A service that runs puts it back by itself; while none does,
// the data plane goes on with what is left.

import { formatIp4 } from '../addr/ip.ts';
import type { Config } from '../config/config.ts';
import type { DatapathFacts, NodeFacts } from '../model/facts.ts';
import { FindingError, type Finding } from '../plan/findings.ts';
import { plan } from '../plan/plan.ts';
import { shellWord } from '../plan/shell.ts';
import { ALL_FORWARDING6 } from '../plan/sysctls.ts';
import { changes, isNoTable, routeWords, type Change } from './changes.ts';

const BY_START = 'Start gate64, or leave it to the service that runs: it makes it again, and sessions go on.';

type Drift = Pick<Finding, 'name' | 'message'> & { readonly command?: string };

/** Empty on a node that was not made ready for this device, and where there is no plan: `findings` say why. */
export function drift(config: Config, node: NodeFacts, datapath: DatapathFacts): Finding[] {
  const { device } = config.nat64;
  if (node.record.device !== device) return [];
  const all = changesFor(config, node, datapath);
  const isGone = all.some(({ kind }) => kind === 'addDevice');
  // Routes and sysctls of a device go with it.
  const seen = isGone ? all.filter(({ kind }) => kind === 'addDevice' || kind === 'masquerade') : all;
  const found = new Map<string, Drift[]>();
  for (const one of seen.flatMap((change) => driftOf(change, node) ?? [])) {
    found.set(one.name, [...(found.get(one.name) ?? []), one]);
  }
  return [...found.values()].map(together);
}

function changesFor(config: Config, node: NodeFacts, datapath: DatapathFacts): Change[] {
  try {
    return changes(node, plan(config, node, datapath).node);
  } catch (error) {
    if (error instanceof FindingError) return [];
    throw error;
  }
}

/** What is of the same kind is one finding, mended by one line. */
function together(drifts: readonly Drift[]): Finding {
  const { name } = drifts[0] as Drift;
  const message = drifts.map((one) => one.message).join('; ');
  const commands = drifts.flatMap((one) => one.command ?? []);
  if (commands.length === 0) return { name, severity: 'warning', message, remedy: BY_START };
  const command = commands.join(' && ');
  const remedy = `A service that runs puts it back by itself. Without one: ${command}`;
  return { name, severity: 'warning', message, remedy, command, isSafe: true };
}

/** Undefined for what is to go, which breaks nothing. */
function driftOf(change: Change, node: NodeFacts): Drift | undefined {
  switch (change.kind) {
    case 'addDevice':
      return { name: 'device-missing', message: `the device ${change.name}, which gate64 had made, is gone` };
    case 'setDevice': {
      const { name, set } = change;
      const command = `ip link set dev ${shellWord(name)} ${set.join(' ')}`;
      const [key, value] = set;
      if (key !== 'mtu') {
        return { name: 'device-changed', message: `the device ${name} is not "${set.join(' ')}" any more`, command };
      }
      const message = `the MTU of ${name} is less than ${value}: larger packets of pods vanish`;
      return { name: 'device-mtu-small', message, command };
    }
    case 'flushAddresses': {
      const command = `ip -6 addr flush dev ${shellWord(change.name)}`;
      return { name: 'device-changed', message: `somebody gave the device ${change.name} an address`, command };
    }
    case 'route': {
      const { route, device, verb } = change;
      if (verb === 'del') return undefined;
      const command = `ip -${route.family} route add ${routeWords(route, shellWord(device)).join(' ')}`;
      const what = route.guard ? 'the guard route' : 'the route';
      return { name: 'route-missing', message: `${what} for ${route.dst} is gone`, command };
    }
    case 'masquerade':
      // Whom it closes the device to follows from sysctls, which have a finding of their own.
      if (isNoTable(change) || node.masquerade?.nets !== undefined) return undefined;
      return {
        name: 'masquerade-missing',
        message:
          node.masquerade === undefined
            ? 'the nftables table ip gate64 is gone, and with it the way out of new connections'
            : 'the nftables table ip gate64 is not as gate64 made it',
      };
    case 'sysctl':
      return sysctlDrift(change.name, change.value, node);
    case 'proxy': {
      const { v4, device } = change.proxy;
      if (change.verb === 'del') return undefined;
      const command = `ip neigh add proxy ${formatIp4(v4)} dev ${shellWord(device)}`;
      return { name: 'proxy-missing', message: `${device} does not answer for ${formatIp4(v4)} any more`, command };
    }
    case 'record':
    case 'removeDevice':
      return undefined;
  }
}

function sysctlDrift(name: string, value: string, node: NodeFacts): Drift | undefined {
  // Written, this one sets every interface's own: its finding mends both.
  if (node.sysctl(ALL_FORWARDING6) === '0' && /^ipv6\/conf\/.+\/forwarding$/.test(name)) return undefined;
  const now = node.sysctl(name) ?? 'not there';
  const command = `sysctl -w ${shellWord(`net/${name}=${value}`)}`;
  if (name.endsWith('/rp_filter')) {
    return { name: 'reverse-path-strict', message: `net/${name} is ${now}; gate64 had set ${value}`, command };
  }
  if (name.endsWith('/forwarding')) {
    return { name: 'forwarding-off', message: `net/${name} is ${now}: what comes in there is not forwarded`, command };
  }
  return { name: 'sysctl-changed', message: `net/${name} is "${now}"; gate64 had set "${value}"`, command };
}
