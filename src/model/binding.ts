// SPDX-License-Identifier: Apache-2.0
// Transport addresses and the bindings of RFC 6146, as configuration, policy and data plane all hold them. Addresses:
// `v4` u32 host order, `v6` 16 bytes.

export type Protocol = 'tcp' | 'udp' | 'icmp';
export const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'icmp'];

export interface TransportAddress4 {
  readonly v4: number;
  /** Port; for ICMP the identifier. */
  readonly port: number;
}

export interface TransportAddress6 {
  readonly v6: Uint8Array;
  readonly port: number;
}

/** A manually configured entry of the binding information base (RFC 6146 §3.1): (X',x) ↔ (T,t). */
export interface StaticBinding {
  readonly protocol: Protocol;
  readonly source: TransportAddress6;
  readonly pool: TransportAddress4;
}
