// SPDX-License-Identifier: Apache-2.0
// The one list of what may be wrong with a node, each with a stable name: start, reload and reconcile make these, and
// docs/findings.md has an entry for each, which a test keeps so.

import { Gate64Error, type ErrorCode } from '../errors.ts';

interface FindingKind {
  /** The error that gate64 ends with when the finding keeps it from working. */
  readonly code: ErrorCode;
  readonly meaning: string;
}

export const FINDINGS = {
  'configuration-refused': {
    code: 'G64_CONFIG_INVALID',
    meaning: 'The configuration file is wrong. What was accepted before is in force, also after a restart.',
  },
  'capability-missing': {
    code: 'G64_NO_CAPABILITY',
    meaning: 'The process lacks a capability that making the device, its routes or the data plane needs.',
  },
  'bpffs-missing': {
    code: 'G64_DATAPATH_LOAD',
    meaning: 'No BPF file system is mounted where programs and maps outlive the process.',
  },
  'address-in-use': {
    code: 'G64_LISTEN',
    meaning:
      'Another program listens where gate64 is to, or the node has no such address; only looked for while no service runs.',
  },
  'kernel-too-old': {
    code: 'G64_KERNEL_UNSUPPORTED',
    meaning: 'The kernel is older than the oldest that gate64 is tested on.',
  },
  'command-missing': {
    code: 'G64_HOST_COMMAND',
    meaning: 'A command that gate64 runs is not installed or cannot be run.',
  },
  'uplink-missing': {
    code: 'G64_NO_UPLINK',
    meaning: 'No interface leads to the IPv4 internet, or the configured one is not there or down.',
  },
  'uplink-not-ethernet': {
    code: 'G64_NO_UPLINK',
    meaning: 'The uplink has no Ethernet header, which the direct way out writes.',
  },
  'uplink-without-address': {
    code: 'G64_NO_UPLINK',
    meaning:
      'The uplink has no IPv4 address that pods could appear as, or the node none that errors could be sent from.',
  },
  'uplinks-beyond': {
    code: 'G64_NO_UPLINK',
    meaning:
      'More interfaces lead outside than the programs can refuse packets from: the others are open to the prefix.',
  },
  'uplink-packets-long': {
    code: 'G64_NO_UPLINK',
    meaning:
      'The kernel joins IPv4 packets that come in to longer ones than an IPv6 header has a length for (BIG TCP): pods do not get those.',
  },
  'device-name-taken': {
    code: 'G64_DEVICE_CONFLICT',
    meaning: 'An interface by the name of the device that gate64 makes, or of its peer, is there and is not of gate64.',
  },
  'prefix-routed-elsewhere': {
    code: 'G64_ROUTE_CONFLICT',
    meaning: 'A route of somebody else takes the translation prefix.',
  },
  'prefix-ruled-elsewhere': {
    code: 'G64_ROUTE_CONFLICT',
    meaning:
      "A routing rule leads pods' packets for the translation prefix, or their answers for the pool, past gate64's routes.",
  },
  'pool-too-large': {
    code: 'G64_CONFIG_INVALID',
    meaning: 'The pool has more addresses than the programs have queues for.',
  },
  'pool-overlaps': {
    code: 'G64_POOL_COLLISION',
    meaning: 'Two entries of the pool, as they stand on this node, give the same port.',
  },
  'pool-holds-node': {
    code: 'G64_POOL_COLLISION',
    meaning: 'The pool holds an address of the node that cannot be shared.',
  },
  'pool-holds-gateway': {
    code: 'G64_POOL_COLLISION',
    meaning: "The pool holds the address of the node's gateway.",
  },
  'pool-routed-elsewhere': {
    code: 'G64_POOL_COLLISION',
    meaning: 'The node routes an address of the pool to somebody else.',
  },
  'pool-ports-ephemeral': {
    code: 'G64_POOL_COLLISION',
    meaning: 'The node hands out ports of the pool to its own programs.',
  },
  'pool-ports-in-use': {
    code: 'G64_POOL_COLLISION',
    meaning: 'A program of the node uses a port of the pool.',
  },
  'pool-ports-nodeports': {
    code: 'G64_POOL_COLLISION',
    meaning: "The pool's ports overlap those that Kubernetes gives to services of type NodePort.",
  },
  'snat-any-port': {
    code: 'G64_POOL_COLLISION',
    meaning:
      'A masquerade or SNAT rule of the node may pick a port of the pool, on an address that the pool shares with the node.',
  },
  'forward-dropped': {
    code: 'G64_FORWARDING_OFF',
    meaning: "A firewall of the node drops forwarded packets, and no rule of it is seen that accepts gate64's.",
  },
  'tracking-times': {
    code: 'G64_KERNEL_UNSUPPORTED',
    meaning:
      'The kernel does not take times for masqueraded flows, so that its connection tracking forgets them when it likes.',
  },
  'tracking-full': {
    code: 'G64_HOST_COMMAND',
    meaning: "The node's connection tracking, which masquerade needs, has hardly any room left.",
  },
  'forwarding-off': {
    code: 'G64_FORWARDING_OFF',
    meaning:
      'The node does not forward IPv6, or no IPv4 by the uplink or the device, so that packets do not get to or from gate64.',
  },
  'device-missing': {
    code: 'G64_HOST_STATE',
    meaning: 'The device that gate64 had made is gone; its routes and programs went with it.',
  },
  'device-changed': {
    code: 'G64_HOST_STATE',
    meaning: "Somebody changed gate64's device: it is down, answers ARP or has an address.",
  },
  'device-mtu-small': {
    code: 'G64_HOST_STATE',
    meaning: "The MTU of gate64's device is less than it was made with, so that large packets of pods vanish.",
  },
  'route-missing': {
    code: 'G64_HOST_STATE',
    meaning: 'A route that gate64 had made, for a prefix or for the pool, is gone.',
  },
  'masquerade-missing': {
    code: 'G64_HOST_STATE',
    meaning: 'The nftables table that gate64 had made is gone or changed, as after `nft flush ruleset`.',
  },
  'reverse-path-strict': {
    code: 'G64_SYSCTL',
    meaning: "The reverse-path filter of gate64's device, which gate64 had switched off, is on.",
  },
  'sysctl-changed': {
    code: 'G64_SYSCTL',
    meaning: 'Another sysctl that gate64 had set, such as the reserved ports, has another value.',
  },
  'proxy-missing': {
    code: 'G64_HOST_STATE',
    meaning: 'The uplink does not answer for an address of the pool any more.',
  },
  'program-before-ours': {
    code: 'G64_HOST_STATE',
    meaning:
      "A TC program of somebody else meets packets before gate64's and may keep them from it; an error when it is seen to. Only `gate64 doctor` looks for it.",
  },
  'old-layout': {
    code: 'G64_DATAPATH_LAYOUT',
    meaning:
      'Maps of another version of gate64 are pinned. It translates on by them until this version starts, which replaces them: their sessions end.',
  },
  'upstream-unreachable': {
    code: 'G64_DNS_UPSTREAM',
    meaning: 'An upstream resolver does not answer. Only `gate64 doctor` looks for it.',
  },
  'upstream-without-tcp': {
    code: 'G64_DNS_UPSTREAM',
    meaning:
      'An upstream resolver answers over UDP alone, so that long answers are lost. Only `gate64 doctor` looks for it.',
  },
  'resolver-unreachable': {
    code: 'G64_DNS_UPSTREAM',
    meaning:
      'The resolver that pods ask does not answer, or nobody answers it. Only `gate64 doctor --server` looks for it.',
  },
  'coredns-not-forwarding': {
    code: 'G64_DNS_UPSTREAM',
    meaning:
      'The resolver that pods ask, such as CoreDNS, does not forward to a DNS64. Only `gate64 doctor --server` looks for it.',
  },
  'dns64-doubled': {
    code: 'G64_DNS_UPSTREAM',
    meaning:
      'The resolver that pods ask has addresses of another DNS64 than gate64, such as those of its own plugin. Only `gate64 doctor --server` looks for it.',
  },
} as const satisfies Record<string, FindingKind>;

export type FindingName = keyof typeof FINDINGS;

/** `error`: gate64 cannot run like this. `warning`: it runs, but something will not work or may break. */
export interface Finding {
  readonly name: FindingName;
  readonly severity: 'error' | 'warning';
  /** What is so on this node, with names and values. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy?: string | undefined;
  /** A line for a shell that mends it, where there is one; root's to run. */
  readonly command?: string | undefined;
  /** `command` touches what is gate64's, or a sysctl that it documents: `doctor --fix` may run it. */
  readonly isSafe?: true;
}

/** A finding that keeps whoever threw it from going on. */
export class FindingError extends Gate64Error {
  override name = 'FindingError';
  readonly finding: Finding;

  constructor(finding: Finding, message: string = finding.message, options: { cause?: unknown } = {}) {
    super(FINDINGS[finding.name].code, message, {
      ...options,
      ...(finding.remedy === undefined ? {} : { hint: finding.remedy }),
    });
    this.finding = finding;
  }
}

export function refuse(
  name: FindingName,
  message: string,
  remedy?: string,
  { command, ...options }: { cause?: unknown; command?: string | undefined } = {},
): FindingError {
  const finding = { name, severity: 'error', message, remedy, ...(command === undefined ? {} : { command }) } as const;
  return new FindingError(finding, message, options);
}

/** Throws the first error among `findings`; the others are named in its message. */
export function throwErrors(findings: readonly Finding[]): void {
  const [first, ...others] = findings.filter((finding) => finding.severity === 'error');
  if (first === undefined) return;
  const rest = others.map((finding) => finding.message).join('; ');
  throw new FindingError(first, others.length === 0 ? first.message : `${first.message} (and also: ${rest})`);
}
