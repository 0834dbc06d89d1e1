/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The one list of reasons for which a packet is dropped: enum, counter index, metric label and what the command line
 * says of it. Append only: the index stands in pinned counters. src/model/drops.gen.ts is made from it.
 */
#pragma once

/* X(NAME, label, "what happened; what to do") */
#define N64_DROP_REASONS(X)                                                                                          \
	X(MALFORMED, malformed, "Headers are cut short or contradict each other.")                                   \
	X(HOP_LIMIT, hop_limit, "Hop limit or TTL ran out here; Time Exceeded was sent (traceroute does this).")     \
	X(SOURCE_IN_PREFIX, source_in_prefix,                                                                        \
	  "The IPv6 source lies in the translation prefix (RFC 6146 3.5: hairpin loop guard).")                      \
	X(SOURCE_ILLEGAL, source_illegal, "The source address is one that no packet may carry.")                     \
	X(SOURCE_NOT_ALLOWED, source_not_allowed, "The pod's address is not in nat64.allowSources.")                 \
	X(FROM_UPLINK, from_uplink,                                                                                  \
	  "The packet came in by an uplink and its source is not in nat64.allowSources: gate64 is no open relay.")   \
	X(DST_MALFORMED, dst_malformed, "Bits 64 to 71 of the destination are not zero (RFC 6052 2.2).")             \
	X(DST_NEVER, dst_never,                                                                                      \
	  "The embedded IPv4 address is loopback, link-local (cloud metadata), multicast or reserved; "              \
	  "nat64.allowNonGlobalIpv4 can except it.")                                                                 \
	X(DST_NON_GLOBAL, dst_non_global,                                                                            \
	  "Under 64:ff9b::/96 only global IPv4 may be reached (RFC 6052 3.1); use another prefix or "                \
	  "nat64.allowNonGlobalIpv4.")                                                                               \
	X(DST_NODE, dst_node, "The embedded IPv4 address is the node's own.")                                        \
	X(DST_DENIED, dst_denied, "The embedded IPv4 address is in nat64.deny.")                                     \
	X(DST_POOL, dst_pool, "The embedded IPv4 address is of the pool itself, and no pod has the port there.")     \
	X(PROTOCOL, protocol, "The transport protocol is none of TCP, UDP and ICMP; NAT64 cannot carry it.")         \
	X(EXTENSION_HEADERS, extension_headers, "The chain of IPv6 extension headers is too long or broken.")        \
	X(SOURCE_ROUTE, source_route, "A source route that has not ended (RFC 7915 4.1, 5.1).")                      \
	X(FRAGMENT_ICMP, fragment_icmp,                                                                              \
	  "An ICMP error in fragments (RFC 7915 1.2), or an echo whose fragments were too many or cannot be put "    \
	  "together.")                                                                                               \
	X(FRAGMENT_UNKNOWN, fragment_unknown,                                                                        \
	  "A later fragment whose first one was not seen, beyond what may wait for it.")                             \
	X(FRAGMENT_TINY, fragment_tiny, "A first fragment without the whole transport header (RFC 6146 3.4).")       \
	X(CHECKSUM_ZERO, checksum_zero,                                                                              \
	  "UDP without checksum over IPv6 (RFC 8200 8.1), or in fragments that cannot be put together.")             \
	X(ICMP_TYPE, icmp_type, "An ICMP type or code that has no counterpart (RFC 7915 4.2, 5.2).")                 \
	X(ICMP_ERROR_SHORT, icmp_error_short,                                                                        \
	  "An ICMP error whose quote is cut short, or of a later fragment: whose flow it is cannot be told.")        \
	X(ICMP_ERROR_NESTED, icmp_error_nested, "An ICMP error about an ICMP error.")                                \
	X(ICMP_ERROR_CHECKSUM, icmp_error_checksum, "An ICMP error whose checksum is wrong.")                        \
	X(ICMP_ERROR_UNKNOWN, icmp_error_unknown, "An ICMP error about a flow that has no binding.")                 \
	X(ICMP_MTU, icmp_mtu, "Packet Too Big with an MTU below 1280 (RFC 8201 4).")                                 \
	X(TOO_BIG, too_big, "Larger than the next link takes; Packet Too Big or Fragmentation Needed was sent.")     \
	X(NO_BINDING, no_binding, "From the IPv4 side to a pool port that no pod uses.")                             \
	X(FILTERED, filtered, "From an IPv4 address that the pod never wrote to (address-dependent filtering).")     \
	X(TCP_NO_SESSION, tcp_no_session, "A TCP segment that starts no connection and belongs to none.")            \
	X(TCP_EXTERNAL_SYN, tcp_external_syn, "A TCP connection from the IPv4 side to a dynamic binding.")           \
	X(POOL_EXHAUSTED, pool_exhausted,                                                                            \
	  "No block of ports is left in the pool, or the last ones are kept for pods that have none; add addresses " \
	  "or ports.")                                                                                               \
	X(POD_QUOTA, pod_quota,                                                                                      \
	  "The pod holds nat64.maxBlocksPerPod blocks and all their ports are in use, or it has "                    \
	  "nat64.maxSessionsPerPod sessions.")                                                                       \
	X(SESSIONS_FULL, sessions_full, "The session table is full; raise nat64.maxSessions.")                       \
	X(SESSION_CONFLICT, session_conflict,                                                                        \
	  "The flow's IPv4 side belongs to another session: the same pod reaches one server by two prefixes, or "    \
	  "two processors met; a repeat passes.")                                                                    \
	X(REWRITE_FAILED, rewrite_failed, "The kernel refused to change the packet: out of memory.")                 \
	X(NOT_CONFIGURED, not_configured, "The data plane has no pool yet.")                                         \
	X(ICMP_ERROR_FOREIGN, icmp_error_foreign,                                                                    \
	  "An ICMPv6 error that one pod sent about another pod's flow; only its own pod and routers may.")           \
	X(NO_ROUTE, no_route, "The node has no IPv4 route to the destination (nat64.egress direct).")                \
	X(NO_NEIGHBOUR, no_neighbour,                                                                                \
	  "The next hop of the node's IPv4 route does not answer ARP (nat64.egress direct).")                        \
	X(NOT_ADMITTED, not_admitted,                                                                                \
	  "No gate64 on this node has answered a name with the address lately (nat64.admit dns).")                   \
	X(SOURCE_NOT_ROUTED, source_not_routed,                                                                      \
	  "The route back to the source does not lead where the packet came from: forged, or a network that the "    \
	  "node has no route to (nat64.checkSources).")

enum n64_drop {
	N64_PASS, /* no drop */
#define X(name, label, text) N64_DROP_##name,
	N64_DROP_REASONS(X)
#undef X
		N64_DROP_MAX,
};
