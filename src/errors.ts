// SPDX-License-Identifier: Apache-2.0
// The one list of gate64's error codes, and the error that carries them. src/libbpf/ has a list of its own, since it
// imports nothing from here; the data plane has none but its drop reasons (bpf/drop.h).

/** Every code with what it means; docs/errors.md lists the same, which a test keeps so. */
export const ERROR_CODES = {
  G64_CONFIG_SYNTAX: 'the configuration is not YAML',
  G64_CONFIG_INVALID: 'a configuration value is not what was expected',
  G64_CONFIG_UNREADABLE: 'the configuration file cannot be read',
  G64_ADDRESS_INVALID: 'text is not the kind of address that was expected',
  G64_USAGE: 'a command was called with wrong options or arguments',
  G64_NO_CAPABILITY: 'the process lacks a capability that the data plane needs',
  G64_KERNEL_UNSUPPORTED: 'the kernel lacks a feature that the data plane needs',
  G64_NO_UPLINK: 'no interface leads to the IPv4 internet, or the configured one is missing',
  G64_POOL_COLLISION: 'a pool claims addresses or ports that something else uses',
  G64_DEVICE_CONFLICT: 'the name of the device that gate64 makes belongs to something else',
  G64_ROUTE_CONFLICT: 'a route of somebody else takes the translation prefix',
  G64_FORWARDING_OFF: 'the node does not forward packets that have to pass through it',
  G64_SYSCTL: 'a sysctl cannot be read or set',
  G64_HOST_STATE: 'the record of what was changed on the node cannot be read or written',
  G64_HOST_COMMAND: 'a command of the host (ip, ss, tc, nft, setpriv) failed',
  G64_DATAPATH_LOAD: 'the BPF object cannot be loaded or attached',
  G64_DATAPATH_MAP: 'a map of the data plane cannot be read or written',
  G64_DATAPATH_MISSING: 'no gate64 data plane is on this node',
  G64_DATAPATH_LAYOUT: 'pinned maps have a layout that this version does not know',
  G64_ALREADY_RUNNING: 'another gate64 runs on this node',
  G64_LISTEN: 'a socket cannot be opened',
  G64_DNS_MALFORMED: 'a DNS message is malformed',
  G64_DNS_UPSTREAM: 'no upstream resolver gave a usable answer',
  G64_DNS_WORKER: 'a process that is to answer names ended as it started',
  G64_SERVICE_DOWN: 'the service does not answer',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An error with a stable code. `hint` says what to do about it; both it and the message are for people to read. */
export class Gate64Error extends Error {
  override name = 'Gate64Error';
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}
