// SPDX-License-Identifier: Apache-2.0
// What hostile neighbours send: one frame each, and what of it varies.

import { bare, eth, TCP } from '../helpers/packet.ts';
import { NODE4, POD_NET, ROUTER4, SERVER4 } from '../helpers/topology.ts';

/** The attacker is a pod beside the one that is measured. */
export const ATTACKER = POD_NET.replace('::/64', '::66');
/** All of it is the attacker's: the node has a route to it there. */
export const ATTACKER_NET = '2001:db8:66::/64';
const SERVER6 = `64:ff9b::${SERVER4}`;
const OTHERS6 = '64:ff9b::203.0.113.0';
/** A port of the pool that the attacker holds, to be reached from outside. */
export const ATTACKER_PORT = 5000;

// Where things lie in a frame.
const ETHERNET = 14;
const V6 = { src: ETHERNET + 8, dst: ETHERNET + 24, l4: ETHERNET + 40 };
const V4 = { checksum: ETHERNET + 10, src: ETHERNET + 12, l4: ETHERNET + 20 };
const UDP_CHECKSUM = 6;
const TCP_CHECKSUM = 16;

export interface Flood {
  readonly name: string;
  /** Where it comes from: the pod's network, or the router outside. */
  readonly from: 'pod' | 'router';
  /** `poolPort`: of the binding that the attacker has. */
  frame(poolPort: number): Uint8Array;
  /** OFFSET:MASK[:CHECKSUM…] as flood.c takes them. */
  readonly vary: readonly string[];
  /** Configuration that the flood asks for. */
  readonly nat64?: Readonly<Record<string, unknown>>;
  /** Of the node's uplink. */
  readonly uplinkMtu?: number;
}

const out = (dst = SERVER6) => eth().ip6({ src: ATTACKER, dst });
const udp6 = V6.l4 + UDP_CHECKSUM;

export const FLOODS: readonly Flood[] = [
  {
    name: 'forged sources',
    from: 'pod',
    frame: () =>
      eth()
        .ip6({ src: ATTACKER_NET.replace('/64', '1'), dst: SERVER6 })
        .udp({ sport: 4000, dport: 9 })
        .build(),
    vary: [`${V6.src + 12}:ffff:${udp6}`, `${V6.src + 14}:ffff:${udp6}`],
    // Who has a /64 is one pod: otherwise each of its addresses has a claim to a block.
    nat64: { podPrefixLength: 64 },
  },
  {
    name: 'ports of one pod',
    from: 'pod',
    frame: () => out().udp({ sport: 4000, dport: 9 }).build(),
    vary: [`${V6.l4}:ffff:${udp6}`],
  },
  {
    name: 'sessions of one pod',
    from: 'pod',
    frame: () => out(OTHERS6).udp({ sport: 4000, dport: 9 }).build(),
    vary: [`${V6.dst + 14}:00ff:${udp6}`, `${V6.l4 + 2}:ffff:${udp6}`],
  },
  {
    name: 'fragments',
    from: 'pod',
    frame: () =>
      out().fragment({ offset: 0, more: true, id: 1 }).udp({ sport: 4000, dport: 9 }).payload('x'.repeat(64)).build(),
    vary: [`${V6.l4 + 4}:ffff`, `${V6.l4 + 6}:ffff`],
  },
  {
    name: 'packets that are too big',
    from: 'pod',
    frame: () => out().udp({ sport: 4000, dport: 9 }).payload('x'.repeat(1420)).build(),
    vary: [`${V6.l4 + 2}:00ff:${udp6}`],
    uplinkMtu: 1400,
  },
  {
    name: 'ICMP errors',
    from: 'router',
    frame: () =>
      eth()
        .ip4({ src: ROUTER4, dst: NODE4 })
        .icmp4({ type: 3, code: 3 })
        .payload(bare().ip4({ src: NODE4, dst: SERVER4 }).udp({ sport: 40000, dport: 9 }))
        .build(),
    vary: [`${V4.l4 + 8 + 20}:ffff:${V4.l4 + 2}`],
  },
  {
    name: 'UDP from outside to a port of a pod',
    from: 'router',
    frame: (poolPort) => eth().ip4({ src: SERVER4, dst: NODE4 }).udp({ sport: 1, dport: poolPort }).build(),
    vary: [`${V4.l4}:ffff:${V4.l4 + UDP_CHECKSUM}`],
  },
  {
    name: 'SYN from outside',
    from: 'router',
    frame: (poolPort) =>
      eth().ip4({ src: '203.0.113.0', dst: NODE4 }).tcp({ sport: 1, dport: poolPort, flags: TCP.syn }).build(),
    vary: [
      `${V4.src + 2}:00ff:${V4.checksum}:${V4.l4 + TCP_CHECKSUM}`,
      `${V4.l4}:ffff:${V4.l4 + TCP_CHECKSUM}`,
      `${V4.l4 + 2}:0fff:${V4.l4 + TCP_CHECKSUM}`,
    ],
  },
];
