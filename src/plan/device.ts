// SPDX-License-Identifier: Apache-2.0
// The interface that gate64 owns: a veth pair without addresses, ARP or generated link-local addresses, so that the prefix
// can be routed to it and no CNI takes it for an uplink.

import { peerName } from '../model/device.ts';
import type { Interface } from '../model/facts.ts';
import { refuse, type FindingError } from './findings.ts';
import { shellWord } from './shell.ts';

const DEFAULT_MTU = 9000;
const MAX_MTU = 65535;
/** IFNAMSIZ without its zero byte; the peer's name is one longer than the device's. */
const MAX_NAME = 15;

/** What others have on the node: neither end of the device of this configuration, nor of the one before. */
export function interfacesOfOthers(
  interfaces: readonly Interface[],
  devices: readonly (string | undefined)[],
): Interface[] {
  const ours = new Set(devices.flatMap((name) => (name === undefined ? [] : [name, peerName(name)])));
  return interfaces.filter(({ name, kind, peer }) => !(kind === 'veth' && ours.has(name) && ours.has(peer ?? '')));
}

/** At least every pod's MTU: under eBPF host routing a larger packet vanishes without a Packet Too Big. */
export function deviceMtu(interfaces: readonly Interface[], device: string): number {
  const others = interfaces.filter(
    ({ name, linkType }) => linkType !== 'loopback' && name !== device && name !== peerName(device),
  );
  return Math.min(
    MAX_MTU,
    others.reduce((mtu, other) => Math.max(mtu, other.mtu), DEFAULT_MTU),
  );
}

/** Why the device's name cannot be used, if so. */
export function deviceConflict(interfaces: readonly Interface[], device: string): FindingError | undefined {
  const peer = peerName(device);
  const no = (message: string, found?: Interface) => {
    // What has no kind is a piece of hardware, which cannot be deleted.
    const command = found?.kind === undefined ? undefined : `ip link delete dev ${shellWord(found.name)}`;
    const how = command === undefined ? '' : ` If nothing needs it: ${command}`;
    const remedy = `Remove that interface, or set nat64.device to another name.${how}`;
    return refuse('device-name-taken', message, remedy, { command });
  };
  if (peer.length > MAX_NAME) return no(`nat64.device "${device}" is longer than ${MAX_NAME - 1} characters`);
  for (const name of [device, peer]) {
    const found = interfaces.find((candidate) => candidate.name === name);
    if (found === undefined) continue;
    const what = `the interface "${name}" is there already and is not gate64's`;
    if (found.kind !== 'veth') return no(`${what}: its kind is ${found.kind ?? found.linkType}, not veth`, found);
    const other = name === device ? peer : device;
    if (found.peer !== other)
      return no(`${what}: its peer is ${found.peer ?? 'in another namespace'}, not "${other}"`, found);
    if (found.master !== undefined) return no(`${what}: it is part of "${found.master}"`, found);
    if (found.addresses4.length > 0 || found.addresses6.some((address) => address.scope !== 'link')) {
      return no(`${what}: it has an address`, found);
    }
  }
  return undefined;
}
