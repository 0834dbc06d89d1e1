/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The accelerator: packets of established sessions, translated where they come in from the pod, and back to its device. The
 * node's IPv6 forwarding sees a flow's first packets, its last ones and whatever is out of the ordinary.
 */
#pragma once

#include "accel_way.h"
#include "xlat64.h"

/* A connection's first packets are the node's, so that its connection tracking sees it established. */
#define ACCEL_AFTER_PACKETS 4
/* How often a flow's packet is the node's again: as often as session_touch6() writes the time. */
#define ACCEL_SHOWN_NS (NSEC_PER_SEC - 1)

/* Whether the flow is one that nobody need be asked about: both ends have spoken and neither has begun to end it. */
static __always_inline bool accel_is_steady(const struct n64_flow6_key *key, struct n64_flow6 *flow, __u8 tcp_flags)
{
	struct n64_flow4_key key4;
	struct n64_flow4 *four;

	if (key->protocol == N64_TCP)
		return flow->state == N64_ESTABLISHED && !(tcp_flags & TCP_CONTROL) &&
		       flow->packets >= ACCEL_AFTER_PACKETS;
	if (flow->flags & N64_FLOW_ANSWERED)
		return true;
	flow4_key_of(&key4, key, flow->pool_be, flow->port_be);
	four = bpf_map_lookup_elem(&n64_flow4, &key4);
	if (!four || !flow->packets || !four->packets)
		return false;
	/* The state beside it never changes but for TCP. */
	flow->flags |= N64_FLOW_ANSWERED;
	return true;
}

/* Everything that is not taken goes on untouched; nothing is dropped here before the point of no return. */
static __always_inline int accel64(struct __sk_buff *skb)
{
	struct n64_flow6_key key = {};
	struct packet p = {};
	struct way way = {};
	struct n64_flow6 *flow;
	struct ipv6hdr *ip6;
	__u32 length, payload, packets, suffix;
	int prefix, index;
	__be16 id;
	__u64 now;

	ip6 = ip_header(skb, IP6_LEN);
	if (!ip6)
		return PASS_ON;
	prefix = prefix_find(&ip6->daddr);
	if (prefix < 0 || ip6->version != 6 || ip6->hop_limit <= 1)
		return PASS_ON;
	index = ip6->nexthdr == IPPROTO_ICMP ? -1 : protocol_index(ip6->nexthdr);
	if (index < 0)
		return PASS_ON;
	parse_ip6(skb, ip6, &p);
	/* The node is the hop: its forwarding does not see the packet. */
	p.hop_limit_out = p.hop_limit - 1;
	if (!destination_of(ip6, prefix, &key.dst4_be, &suffix))
		return PASS_ON;
	copy16(key.src, &ip6->saddr);
	key.prefix = prefix;
	/* A trailer would have to be cut off. */
	if (p.end > skb->len || (p.end < skb->len && !skb->gso_size) || parse_transport(skb, &p, L3_OFF + IP6_LEN))
		return PASS_ON;
	if (index == N64_ICMP) {
		if (p.icmp_type != ICMPV6_ECHO_REQUEST && p.icmp_type != ICMPV6_ECHO_REPLY)
			return PASS_ON;
		key.sport_be = p.icmp_id;
	} else {
		if (index == N64_UDP && !p.udp_check)
			return PASS_ON;
		key.sport_be = p.sport;
		key.dport_be = p.dport;
	}
	key.protocol = index;

	flow = bpf_map_lookup_elem(&n64_flow6, &key);
	if (!flow || flow->flags & N64_FLOW_HAIRPIN)
		return PASS_ON;
	/*
	 * A packet a second goes the node's way: its firewall judges the flow anew, and its connection tracking keeps it. The
	 * time is written by the gate alone, so once the node refuses the flow all of it goes there. Covers expiry.
	 */
	now = now_ns();
	if (ns_after(now, flow->last_ns, ACCEL_SHOWN_NS))
		return PASS_ON;
	if (!accel_is_steady(&key, flow, p.tcp_flags))
		return PASS_ON;
	if (!pod_way_learn(skb, &key))
		return PASS_ON;
	payload = segment_payload(skb, &p);
	if (way_find(skb, &way, flow->pool_be, key.dst4_be, wire_length(&p, payload)))
		return PASS_ON;
	length = p.end - L3_OFF;
	packets = skb->gso_segs ? skb->gso_segs : 1;
	session_touch6(&key, flow, p.tcp_flags, packets, length, now);
	count_packet(N64_6TO4, index, packets, length);
	count_accelerated(N64_6TO4, packets, length);
	id = ip4_id(flow);

	/* ---- point of no return: from here a failure drops ---- */
	if (rewrite_6to4(skb, &p, &key, flow, csum_sub(flow->csum_delta, suffix), 0, id, payload))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_6TO4);
	return egress_ip4(skb, &way);
}
