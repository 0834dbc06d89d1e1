/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From IPv6 to IPv4: RFC 6146 3.4 to 3.7 and RFC 7915 5. */
#pragma once

#include "closed.h"
#include "held.h"
#include "icmp_error64.h"
#include "mss.h"

/* ICMPv6 echo: the pseudo-header, of `length`, leaves the checksum, type and identifier change (RFC 7915 5.2). */
static __always_inline void rewrite_echo_6to4(struct __sk_buff *skb, struct packet *p, const struct n64_flow6_key *key,
					      const struct n64_flow6 *flow, __u32 csum_delta, __u32 length)
{
	__u8 type = p->icmp_type == ICMPV6_ECHO_REQUEST ? ICMP_ECHO : ICMP_ECHOREPLY;
	__u32 sum6 = csum_sub(csum_ip4_pair(flow->pool_be, key->dst4_be), csum_delta);
	__u32 pseudo = csum_add(sum6, csum_icmp6_pseudo_tail(length));
	__u32 check = p->l4_off + ICMP_CHECK_OFF;

	bpf_l4_csum_replace(skb, check, 0, csum_sub(0, pseudo), BPF_F_PSEUDO_HDR);
	bpf_l4_csum_replace(skb, check, bpf_htons((__u16)p->icmp_type << 8), bpf_htons((__u16)type << 8), 2);
	bpf_skb_store_bytes(skb, p->l4_off, &type, 1, 0);
	if (flow->port_be != p->icmp_id) {
		bpf_l4_csum_replace(skb, check, p->icmp_id, flow->port_be, 2);
		bpf_skb_store_bytes(skb, p->l4_off + 4, &flow->port_be, 2, 0);
	}
}

/*
 * TCP and UDP. Addresses and port are two updates: with CHECKSUM_PARTIAL the field covers the pseudo-header alone, and
 * one combined update would corrupt every offloaded packet.
 */
static __always_inline void rewrite_port(struct __sk_buff *skb, struct packet *p, __u32 csum_delta, __be16 old,
					 __be16 new, __u32 port_at)
{
	bool udp = p->protocol == IPPROTO_UDP;
	__u32 check = p->l4_off + (udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	__u64 mangled = udp ? BPF_F_MARK_MANGLED_0 : 0;

	bpf_l4_csum_replace(skb, check, 0, csum_delta, BPF_F_PSEUDO_HDR | mangled);
	if (old != new) {
		bpf_l4_csum_replace(skb, check, old, new, mangled | 2);
		bpf_skb_store_bytes(skb, port_at, &new, 2, 0);
	}
}

/* The headers: 0, or not. `src`/`dst` are T and Z. */
static __always_inline int rewrite_headers_6to4(struct __sk_buff *skb, struct packet *p, __be32 src, __be32 dst,
						__u16 id, __u32 payload)
{
	struct iphdr ip4 = {
		.version = 4,
		.ihl = 5,
		.tos = p->traffic_class,
		.ttl = p->hop_limit_out,
		.protocol = p->protocol == IPPROTO_ICMPV6 ? IPPROTO_ICMP : p->protocol,
		.saddr = src,
		.daddr = dst,
	};
	__u32 total = IP4_LEN + p->end - p->l4_off;
	__u32 extensions = p->l4_off - L3_OFF - IP6_LEN;

	ip4.tot_len = total > 65535 ? 0 : bpf_htons(total);
	if (p->fragmented) {
		/* RFC 7915 5.1.1 */
		ip4.id = bpf_htons(bpf_ntohl(p->frag_id));
		ip4.frag_off = bpf_htons(p->frag_off | (p->more ? 0x2000 : 0));
	} else {
		/* RFC 7915 5.1: DF=0 up to 1260 bytes, since a path of less than 1280 cannot be told to the sender. */
		ip4.id = id;
		if (IP4_LEN + payload > IPV6_MIN_MTU - 20)
			ip4.frag_off = bpf_htons(0x4000);
	}
	ip4_set_check(&ip4);
	if (extensions && bpf_skb_adjust_room(skb, -(int)extensions, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	if (bpf_skb_change_proto(skb, bpf_htons(ETH_P_IP), 0))
		return -1;
	return bpf_skb_store_bytes(skb, L3_OFF, &ip4, sizeof(ip4), BPF_F_RECOMPUTE_CSUM);
}

/*
 * The transport header, then the IP header: 0, or not. `whole` is the length of the datagram that an echo is the first
 * fragment of, 0 where it is all of it.
 */
static __always_inline int rewrite_6to4(struct __sk_buff *skb, struct packet *p, const struct n64_flow6_key *key,
					const struct n64_flow6 *flow, __u32 csum_delta, __u32 whole, __u16 id,
					__u32 payload)
{
	if (key->protocol == N64_ICMP)
		rewrite_echo_6to4(skb, p, key, flow, csum_delta, whole ? whole : p->end - p->l4_off);
	else
		rewrite_port(skb, p, csum_delta, p->sport, flow->port_be, p->l4_off);
	return rewrite_headers_6to4(skb, p, flow->pool_be, key->dst4_be, id, payload);
}

/* RFC 6864: distinct within a flow for 65536 packets, and from a start of its own. */
static __always_inline __be16 ip4_id(const struct n64_flow6 *flow)
{
	return bpf_htons((__u16)(flow->packets + (flow->created_ns >> 10)));
}

/* Z, and what the bits behind it add to the checksum; false where the address holds none. */
static __always_inline bool destination_of(const struct ipv6hdr *ip6, int prefix, __be32 *dst4, __u32 *suffix)
{
	__u32 length = cfg.prefixes[prefix & (N64_MAX_PREFIXES - 1)].length;

	if (!rfc6052_extract(length, (const __u8 *)&ip6->daddr, dst4))
		return false;
	*suffix = rfc6052_suffix_sum(length, (const __u8 *)&ip6->daddr);
	return true;
}

/* What the next link has to take; 0 when it is cut on the way, as what is not above IPv6's least MTU may be. */
static __always_inline __u32 wire_length(const struct packet *p, __u32 payload)
{
	return p->l4_off - L3_OFF + payload > IPV6_MIN_MTU ? IP4_LEN + payload : 0;
}

/* Of Packet Too Big. */
static __always_inline __u32 too_big_mtu(const struct way *way)
{
	return max_u32(IPV6_MIN_MTU, way->mtu + IP6_LEN - IP4_LEN);
}

GLOBAL int later_fragment_6to4(struct __sk_buff *skb, struct packet *p, const struct n64_flow6_key *key)
{
	struct n64_making *new;
	struct n64_frag *frag;
	struct way way = {};
	int index, reason;
	bool hairpin;

	if (!p || !key)
		return TC_ACT_SHOT;
	new = frag_start6(p, key->src, key->dst4_be, key->prefix);
	frag = new ? frag_find(new) : NULL;
	index = protocol_index(p->protocol);
	if (frag_beyond_end(p))
		return drop(skb, N64_DROP_MALFORMED, N64_6TO4);
	if (frag_overlaps_header(p))
		return drop(skb, N64_DROP_FRAGMENT_TINY, N64_6TO4);
	if (!frag || index < 0)
		return hand_over(skb, rate_source(key->src, 4), N64_6TO4,
				 index == N64_ICMP ? N64_DROP_FRAGMENT_ICMP : N64_DROP_FRAGMENT_UNKNOWN);
	held_end(skb);
	hairpin = is_pool(*(__be32 *)(frag->dst + 12));
	reason = hairpin ? N64_PASS
			 : way_ip4(skb, &way, *(__be32 *)(frag->src + 12), *(__be32 *)(frag->dst + 12),
				   wire_length(p, p->end - p->l4_off));
	if (reason)
		return refuse6(skb, p, reason, too_big_mtu(&way));
	count_packet(N64_6TO4, index, 1, p->end - L3_OFF);
	if (rewrite_headers_6to4(skb, p, *(__be32 *)(frag->src + 12), *(__be32 *)(frag->dst + 12), 0,
				 p->end - p->l4_off))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_6TO4);
	return hairpin ? egress_back(skb) : egress_ip4(skb, &way);
}

/* Notes the packet in its session: time, state, counters. */
static __always_inline void session_touch6(const struct n64_flow6_key *key, struct n64_flow6 *flow, __u8 tcp_flags,
					   __u32 packets, __u32 bytes, __u64 now)
{
	if (key->protocol == N64_TCP && ((tcp_flags & TCP_CONTROL) || !state_is_steady(flow->state)))
		session_step(key, flow->pool_be, flow->port_be, N64_6TO4, tcp_classify(tcp_flags));
	else if (ns_after(now, flow->last_ns, NSEC_PER_SEC - 1))
		flow->last_ns = now;
	__sync_fetch_and_add(&flow->packets, packets);
	__sync_fetch_and_add(&flow->bytes, bytes);
}

static __always_inline struct n64_flow6 *session6(struct __sk_buff *skb, const struct n64_flow6_key *key,
						  __u8 tcp_flags, int *reason)
{
	*reason = session_create6(skb, key, tcp_flags);
	/* What was refused for want of room makes its own once, whoever sweeps. */
	if ((*reason == N64_DROP_POOL_EXHAUSTED || *reason == N64_DROP_POD_QUOTA) && key->protocol == N64_TCP &&
	    closed_give_way(key))
		*reason = session_create6(skb, key, tcp_flags);
	return *reason ? NULL : bpf_map_lookup_elem(&n64_flow6, key);
}

static __always_inline int xlat64(struct __sk_buff *skb)
{
	struct n64_flow6_key key = {};
	struct packet p = {};
	struct way way = {};
	struct n64_flow6 *flow;
	struct ipv6hdr *ip6;
	__u32 length, payload, packets, suffix = 0, whole = 0;
	int prefix, index, reason = N64_PASS;
	bool hairpin;
	__be16 id;
	__u64 now;

	ip6 = ip_header(skb, IP6_LEN);
	if (!ip6)
		return PASS_ON;
	prefix = prefix_find(&ip6->daddr);
	if (prefix < 0 || ip6->version != 6)
		return PASS_ON;

	/* From here on the packet is for the translator: what cannot be translated is dropped, so that nothing leaks. */
	parse_ip6(skb, ip6, &p);
	p.hop_limit_out = p.hop_limit - hops_here(skb);
	if (!destination_of(ip6, prefix, &key.dst4_be, &suffix))
		reason = N64_DROP_DST_MALFORMED;
	copy16(key.src, &ip6->saddr);
	key.prefix = prefix;
	/* No open relay; a router with one arm names those whom it serves. */
	if (is_uplink(skb->ingress_ifindex) && !(cfg.restrict_sources && source_listed(key.src)))
		return drop(skb, N64_DROP_FROM_UPLINK, N64_6TO4);
	if (p.end > skb->len)
		return drop(skb, N64_DROP_MALFORMED, N64_6TO4);
	index = protocol_index(p.protocol);
	if (index < 0) {
		int failed = parse_extensions(skb, &p, L3_OFF);

		if (failed)
			return refuse6(skb, &p, failed, p.pointer);
		if (p.l4_off > p.end)
			return drop(skb, N64_DROP_MALFORMED, N64_6TO4);
		index = protocol_index(p.protocol);
	}
	if (p.protocol == IPPROTO_ICMP)
		index = -1;
	if (!p.frag_off && index >= 0) {
		int failed = parse_transport(skb, &p, L3_OFF + IP6_LEN);

		if (failed)
			return refuse6(skb, &p, failed, 0);
	}
	/* Masquerade: the host stack, which gets it next, would drop what has one hop left. */
	if (reason || p.hop_limit <= (cfg.direct ? hops_here(skb) : 1))
		return refuse6(skb, &p, reason ? reason : N64_DROP_HOP_LIMIT, 0);
	if (index < 0)
		return refuse6(skb, &p, N64_DROP_PROTOCOL, 0);
	if (trim_trailer(skb, &p))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_6TO4);

	payload = segment_payload(skb, &p);
	if (index == N64_ICMP) {
		if (p.frag_off)
			return later_fragment_6to4(skb, &p, &key);
		if (p.icmp_type >= ICMPV6_DEST_UNREACH && p.icmp_type <= ICMPV6_PARAMPROB) {
			/* RFC 7915 1.2 */
			if (p.more)
				return drop(skb, N64_DROP_FRAGMENT_ICMP, N64_6TO4);
			return icmp_error6(skb, &p);
		}
		if (p.icmp_type != ICMPV6_ECHO_REQUEST && p.icmp_type != ICMPV6_ECHO_REPLY)
			return drop(skb, N64_DROP_ICMP_TYPE, N64_6TO4);
		if (p.more) {
			struct n64_hold *hold = held_find(frag_start6(&p, key.src, key.dst4_be, key.prefix));

			if (!hold) {
				/* Where it came by is not known any more when it comes again. */
				reason = policy_route_back(skb, &key);
				if (reason)
					return refuse6(skb, &p, reason, 0);
				return hand_over(skb, rate_source(key.src, 4), N64_6TO4, N64_DROP_FRAGMENT_ICMP);
			}
			whole = hold->payload_length;
			held_end(skb);
		}
		key.sport_be = p.icmp_id;
	} else {
		if (p.frag_off)
			return later_fragment_6to4(skb, &p, &key);
		/* RFC 8200 8.1 */
		if (p.protocol == IPPROTO_UDP && !p.udp_check)
			return drop(skb, N64_DROP_CHECKSUM_ZERO, N64_6TO4);
		key.sport_be = p.sport;
		key.dport_be = p.dport;
	}
	key.protocol = index;

	now = now_ns();
	flow = bpf_map_lookup_elem(&n64_flow6, &key);
	if (flow && ns_after(now, flow->last_ns, timeout_ns(flow->state)) && session6_expired(&key, flow)) {
		session_delete(&key, flow->pool_be, flow->port_be);
		flow = NULL;
	}
	if (!flow) {
		flow = session6(skb, &key, p.tcp_flags, &reason);
		if (!flow)
			return refuse6(skb, &p, reason ? reason : N64_DROP_SESSION_CONFLICT, 0);
	}
	hairpin = flow->flags & N64_FLOW_HAIRPIN;
	if (!hairpin)
		reason = way_ip4(skb, &way, flow->pool_be, key.dst4_be, wire_length(&p, payload));
	if (reason)
		return refuse6(skb, &p, reason, too_big_mtu(&way));
	length = p.end - L3_OFF;
	packets = skb->gso_segs ? skb->gso_segs : 1;
	session_touch6(&key, flow, p.tcp_flags, packets, length, now);
	count_packet(N64_6TO4, index, packets, length);
	id = ip4_id(flow);
	if (p.fragmented && p.more) {
		struct n64_making *new = frag_start6(&p, key.src, key.dst4_be, key.prefix);

		if (new) {
			*(__be32 *)(new->frag.src + 12) = flow->pool_be;
			*(__be32 *)(new->frag.dst + 12) = key.dst4_be;
			frag_remember();
		}
	}

	/* ---- point of no return: from here a failure drops ---- */
	if (cfg.mss_clamp && index == N64_TCP && (p.tcp_flags & TCP_FLAG_SYN)) {
		struct mss_path path = { .pool = flow->pool_be, .server = key.dst4_be };

		copy16(path.pod, key.src);
		if (mss_clamp(skb, &p, &path))
			return drop(skb, N64_DROP_REWRITE_FAILED, N64_6TO4);
	}
	if (rewrite_6to4(skb, &p, &key, flow, csum_sub(flow->csum_delta, suffix), whole, id, payload))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_6TO4);
	return hairpin ? egress_back(skb) : egress_ip4(skb, &way);
}
