/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From IPv4 to IPv6: RFC 6146 3.4 to 3.7 and RFC 7915 4. */
#pragma once

#include "accel_way.h"
#include "icmp_error46.h"
#include "split.h"
#include "syn.h"
#include "xlat64.h"

static __always_inline void rewrite_echo_4to6(struct __sk_buff *skb, struct packet *p, const struct n64_flow4_key *key,
					      const struct n64_flow4 *flow, __u32 length)
{
	__u8 type = p->icmp_type == ICMP_ECHO ? ICMPV6_ECHO_REQUEST : ICMPV6_ECHO_REPLY;
	__u32 sum6 = csum_add(csum_ip4_pair(key->src_be, key->dst_be), flow->csum_delta);
	__u32 pseudo = csum_add(sum6, csum_icmp6_pseudo_tail(length));
	__u32 check = p->l4_off + ICMP_CHECK_OFF;

	bpf_l4_csum_replace(skb, check, 0, pseudo, BPF_F_PSEUDO_HDR);
	bpf_l4_csum_replace(skb, check, bpf_htons((__u16)p->icmp_type << 8), bpf_htons((__u16)type << 8), 2);
	bpf_skb_store_bytes(skb, p->l4_off, &type, 1, 0);
	if (flow->port_be != p->icmp_id) {
		bpf_l4_csum_replace(skb, check, p->icmp_id, flow->port_be, 2);
		bpf_skb_store_bytes(skb, p->l4_off + 4, &flow->port_be, 2, 0);
	}
}

/* The headers: 0, or not. `ip6` has its addresses already. A fragment gets its Fragment Header (RFC 7915 4.1). */
static __always_inline int rewrite_headers_4to6(struct __sk_buff *skb, struct packet *p, struct ipv6hdr *ip6)
{
	__u32 payload = p->end - p->l4_off;
	__u32 options = p->l4_off - L3_OFF - IP4_LEN;
	__u8 next = p->protocol == IPPROTO_ICMP ? IPPROTO_ICMPV6 : p->protocol;

	ip6_set_start(ip6, p->traffic_class);
	ip6->payload_len = bpf_htons(payload + (p->fragmented ? FRAG_LEN : 0));
	ip6->nexthdr = p->fragmented ? IPPROTO_FRAGMENT : next;
	ip6->hop_limit = p->hop_limit_out;
	if (options && bpf_skb_adjust_room(skb, -(int)options, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	if (bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0))
		return -1;
	if (p->fragmented) {
		struct fragment_header frag = {
			.next = next,
			.offset = bpf_htons(p->frag_off << 3 | p->more),
			.id = p->frag_id,
		};

		if (bpf_skb_adjust_room(skb, FRAG_LEN, BPF_ADJ_ROOM_NET, 0) ||
		    bpf_skb_store_bytes(skb, L3_OFF + IP6_LEN, &frag, sizeof(frag), BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	return bpf_skb_store_bytes(skb, L3_OFF, ip6, sizeof(*ip6), BPF_F_RECOMPUTE_CSUM);
}

/* Copies become all pieces but the last, the packet itself becomes that. */
static __always_inline int split_away(struct __sk_buff *skb, struct packet *p)
{
	__u8 whole = p->more || p->frag_off || p->protocol == IPPROTO_ICMP ? 0 : p->protocol;

	if (split_send(skb, p->end - p->l4_off, whole) || split_piece(skb))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	return egress_ip6(skb);
}

GLOBAL int later_fragment_4to6(struct __sk_buff *skb, struct packet *p, const struct n64_flow4_key *key, bool ours)
{
	struct n64_making *new;
	struct n64_frag *frag;
	struct ipv6hdr ip6;
	bool split;
	int index;

	if (!p || !key)
		return TC_ACT_SHOT;
	new = frag_start4(p, key->src_be, key->dst_be);
	frag = new ? frag_find(new) : NULL;
	index = protocol_index(p->protocol);

	if (!frag || index < 0) {
		__u32 reason = index == N64_ICMP ? N64_DROP_FRAGMENT_ICMP : N64_DROP_FRAGMENT_UNKNOWN;

		/* It may be the node's: the host stack gets it, and user space a copy. */
		if (!ours && skb->ifindex != cfg.device_ifindex) {
			bpf_clone_redirect(skb, cfg.device_ifindex, 0);
			return PASS_ON;
		}
		return hand_over(skb, rate_source(&key->src_be, 1), N64_4TO6, ours ? reason : N64_PASS);
	}
	held_end(skb);
	if (frag_beyond_end(p))
		return drop(skb, N64_DROP_MALFORMED, N64_4TO6);
	if (frag_overlaps_header(p))
		return drop(skb, N64_DROP_FRAGMENT_TINY, N64_4TO6);
	if (trim_trailer(skb, p))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	split = split_wanted(skb, p);
	if (split ? !split_possible(p) : IP6_LEN + FRAG_LEN + p->end - p->l4_off > cfg.device_mtu)
		return refuse4(skb, p, N64_DROP_TOO_BIG, 0);
	copy16(&ip6.saddr, frag->src);
	copy16(&ip6.daddr, frag->dst);
	count_packet(N64_4TO6, index, 1, p->end - L3_OFF);
	if (rewrite_headers_4to6(skb, p, &ip6))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	return split ? split_away(skb, p) : egress_ip6(skb);
}

/* UDP and ICMP: the first packet from outside. Noted for the accelerator and the sweep, which look no further then. */
GLOBAL int session_note_answer(const struct n64_flow4_key *key4, const struct n64_flow4 *four)
{
	struct n64_flow6_key key6;
	struct n64_flow6 *six;

	if (!key4 || !four)
		return 0;
	flow6_key_of(&key6, key4, four);
	six = bpf_map_lookup_elem(&n64_flow6, &key6);
	if (six && READ_ONCE(six->packets))
		note_answered(six);
	return 0;
}

static __always_inline void session_touch4(const struct n64_flow4_key *key, struct n64_flow4 *flow, __u8 tcp_flags,
					   __u32 packets, __u32 bytes)
{
	__u64 now = now_ns();

	if (key->protocol == N64_TCP && ((tcp_flags & TCP_CONTROL) || !state_is_steady(flow->state))) {
		struct n64_flow6_key key6;

		flow6_key_of(&key6, key, flow);
		session_step(&key6, key->dst_be, key->dport_be, N64_4TO6, tcp_classify(tcp_flags));
	} else if (ns_after(now, flow->last_ns, NSEC_PER_SEC - 1)) {
		flow->last_ns = now;
	}
	if (key->protocol != N64_TCP && !flow->packets)
		session_note_answer(key, flow);
	__sync_fetch_and_add(&flow->packets, packets);
	__sync_fetch_and_add(&flow->bytes, bytes);
}

/*
 * Where a pod's port is the node's too (its own connections from ports that were not kept from it, those of containers
 * whose source port is any), what no pod asked for may be an answer to the node: its stack knows.
 */
static __always_inline bool is_for_node(int reason)
{
	return reason == N64_DROP_TCP_NO_SESSION || reason == N64_DROP_TCP_EXTERNAL_SYN || reason == N64_DROP_FILTERED;
}

/* No session: a binding may let one begin. NULL with a reason; N64_PASS as the reason: not ours, hands off. */
static __noinline struct n64_flow4 *session4(struct __sk_buff *skb, const struct n64_flow4_key *key, struct packet *p,
					     bool shared, int *reason)
{
	struct n64_bib4_key bib_key = {
		.pool_be = key->dst_be,
		.port_be = key->dport_be,
		.protocol = key->protocol,
	};
	struct n64_bib4 *bib = bpf_map_lookup_elem(&n64_bib4, &bib_key);
	struct n64_flow4 *flow;

	if (!bib) {
		/* C-06: on an address that the node uses too, the host stack knows what to do with it. */
		*reason = shared ? N64_PASS : N64_DROP_NO_BINDING;
		return NULL;
	}
	/* What goes no further makes no session. */
	if (p->hop_limit <= 1) {
		*reason = N64_DROP_HOP_LIMIT;
		return NULL;
	}
	if (p->l4_off != L3_OFF + IP4_LEN) {
		*reason = parse_ip4_options(skb, L3_OFF + IP4_LEN, p->l4_off);
		if (*reason)
			return NULL;
	}
	*reason = session_create4(key, bib, p->tcp_flags, skb->ifindex == cfg.device_ifindex);
	if (*reason) {
		/* What another pod sends here reaches no stack beyond the device. */
		if (shared && skb->ifindex != cfg.device_ifindex && is_for_node(*reason))
			*reason = N64_PASS;
		return NULL;
	}
	flow = bpf_map_lookup_elem(&n64_flow4, key);
	if (!flow)
		*reason = N64_DROP_SESSION_CONFLICT;
	return flow;
}

/* RFC 6146 3.4: UDP without a checksum gets one, since IPv6 demands it. A fragment's `hold` has the sum of the whole. */
GLOBAL int udp_checksum_compute(struct __sk_buff *skb, struct packet *p, const struct n64_flow4_key *key,
				const struct n64_hold *hold)
{
	__u32 length, total;
	__sum16 check;
	long sum;

	if (!p || !key)
		return -1;
	length = bpf_ntohs(p->udp_len);
	sum = hold ? hold->sum : csum_packet(skb, p->l4_off, p->l4_off + length);
	if (sum < 0)
		return -1;
	/* As IPv4 would have it; the translation that follows changes it like any other. */
	total = csum_add(sum, csum_ip4_pair(key->src_be, key->dst_be));
	total = csum_add(total, csum_add(bpf_htonl(IPPROTO_UDP), bpf_htonl(length)));
	check = csum_fold(total);
	if (!check)
		check = 0xffff;
	return bpf_skb_store_bytes(skb, p->l4_off + offsetof(struct udphdr, check), &check, 2, BPF_F_RECOMPUTE_CSUM);
}

/* `from_uplink` is known when compiling: what comes by the device goes to no pod straight, and has no stack to spare. */
static __always_inline int xlat46(struct __sk_buff *skb, bool from_uplink)
{
	struct n64_flow4_key key = {};
	struct n64_pool_address *pool;
	struct n64_hold *hold = NULL;
	struct packet p = {};
	struct n64_flow4 *flow;
	struct ipv6hdr ip6;
	struct iphdr *ip4;
	bool zero_checksum, shared, split;
	__u32 length, payload, packets, mtu;
	__u16 frag;
	int index, reason = N64_PASS, pod_ifindex = 0;

	ip4 = ip_header(skb, IP4_LEN);
	if (!ip4)
		return PASS_ON;
	if (ip4->version != 4 || ip4->ihl < 5)
		return PASS_ON;
	key.src_be = ip4->saddr;
	key.dst_be = ip4->daddr;
	pool = bpf_map_lookup_elem(&n64_pool, &key.dst_be);
	if (!pool)
		return PASS_ON;
	shared = pool->shared;
	frag = bpf_ntohs(ip4->frag_off);
	p.protocol = ip4->protocol;
	p.hop_limit = ip4->ttl;
	p.hop_limit_out = ip4->ttl - hops_here(skb);
	p.traffic_class = ip4->tos;
	p.l4_off = L3_OFF + ip4->ihl * 4;
	/* BIG TCP, see parse_ip6(). */
	p.end = !ip4->tot_len && skb->gso_size ? skb->len : L3_OFF + bpf_ntohs(ip4->tot_len);
	p.frag_off = frag & 0x1fff;
	p.more = !!(frag & 0x2000);
	p.fragmented = p.more || p.frag_off;
	p.dont_fragment = !!(frag & 0x4000);
	/* RFC 7915 4.1 */
	p.frag_id = bpf_htonl(bpf_ntohs(ip4->id));
	index = p.protocol == IPPROTO_ICMPV6 ? -1 : protocol_index(p.protocol);
	if (index < 0)
		/* RFC 6146 3.4; on a shared address it is the node's (C-06). */
		return shared ? PASS_ON : drop(skb, N64_DROP_PROTOCOL, N64_4TO6);
	if (p.end > skb->len || p.end < p.l4_off)
		return shared ? PASS_ON : drop(skb, N64_DROP_MALFORMED, N64_4TO6);
	if (p.frag_off) {
		if (p.hop_limit <= 1)
			return shared ? PASS_ON : refuse4(skb, &p, N64_DROP_HOP_LIMIT, 0);
		return later_fragment_4to6(skb, &p, &key, !shared);
	}
	reason = parse_transport(skb, &p, L3_OFF + IP4_LEN);
	if (reason)
		return shared ? PASS_ON : drop(skb, reason, N64_4TO6);
	if (index == N64_ICMP) {
		bool query = p.icmp_type == ICMP_ECHO || p.icmp_type == ICMP_ECHOREPLY;

		if (!query) {
			if (p.icmp_type != ICMP_DEST_UNREACH && p.icmp_type != ICMP_TIME_EXCEEDED &&
			    p.icmp_type != ICMP_PARAMETERPROB)
				return shared ? PASS_ON : drop(skb, N64_DROP_ICMP_TYPE, N64_4TO6);
			/* The node gets errors of its own too, and only the quote tells whose it is. */
			if (shared && !icmp_error4_ours(skb, &p))
				return PASS_ON;
			if (p.more)
				return drop(skb, N64_DROP_FRAGMENT_ICMP, N64_4TO6);
			if (p.hop_limit <= 1)
				return drop(skb, N64_DROP_HOP_LIMIT, N64_4TO6);
			return icmp_error4(skb, &p, key.src_be);
		}
		key.dport_be = p.icmp_id;
	} else {
		key.sport_be = p.sport;
		key.dport_be = p.dport;
	}
	key.protocol = index;

	flow = bpf_map_lookup_elem(&n64_flow4, &key);
	if (flow && ns_after(now_ns(), flow->last_ns, timeout_ns(flow->state)) && session4_expired(&key, flow)) {
		struct n64_flow6_key key6;

		flow6_key_of(&key6, &key, flow);
		session_delete(&key6, key.dst_be, key.dport_be);
		flow = NULL;
	}
	if (flow) {
		if (p.hop_limit <= 1)
			reason = N64_DROP_HOP_LIMIT;
		else if (p.l4_off != L3_OFF + IP4_LEN)
			reason = parse_ip4_options(skb, L3_OFF + IP4_LEN, p.l4_off);
	} else {
		flow = session4(skb, &key, &p, shared, &reason);
		if (!flow && !reason)
			return PASS_ON;
		/* On an address that is the node's too, silence: its own stack answers for what is not ours. */
		if (!flow && !shared && syn_is_unasked(&key, &p, reason))
			return syn_unasked(skb, key.src_be, reason);
	}
	if (!flow || reason)
		return refuse4(skb, &p, reason, 0);
	/*
	 * BIG TCP as IPv6 takes a jumbo option up to Linux 6.18, which the kernel takes out again for a device that has the
	 * packet whole: bpf_skb_change_proto() has marked it SKB_GSO_DODGY. Dropped here, where it is known to be a pod's: the
	 * node's stack would answer with a reset.
	 */
	if (p.end - p.l4_off > 65535)
		return drop(skb, N64_DROP_MALFORMED, N64_4TO6);
	zero_checksum = p.protocol == IPPROTO_UDP && !p.udp_check;
	if (zero_checksum && skb->gso_size)
		return drop(skb, N64_DROP_CHECKSUM_ZERO, N64_4TO6);
	if (p.more && (zero_checksum || index == N64_ICMP)) {
		hold = held_find(frag_start4(&p, key.src_be, key.dst_be));
		if (!hold)
			return hand_over(skb, rate_source(&key.src_be, 1), N64_4TO6,
					 zero_checksum ? N64_DROP_CHECKSUM_ZERO : N64_DROP_FRAGMENT_ICMP);
	}
	if (p.more)
		held_end(skb);
	if (trim_trailer(skb, &p))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	payload = segment_payload(skb, &p);
	split = split_wanted(skb, &p);
	mtu = cfg.device_mtu - (p.fragmented ? FRAG_LEN : 0);
	if (split ? !split_possible(&p) : IP6_LEN + payload > mtu)
		return refuse4(skb, &p, N64_DROP_TOO_BIG, mtu - 20);
	/* What begins or ends a flow is for the node's connection tracking to see, its first answer too. */
	if (from_uplink && cfg.accelerate && !split && !p.fragmented && flow->packets && !(p.tcp_flags & TCP_CONTROL))
		pod_ifindex = pod_way_find(skb, flow, IP6_LEN + payload);

	length = p.end - L3_OFF;
	packets = skb->gso_segs ? skb->gso_segs : 1;
	session_touch4(&key, flow, p.tcp_flags, packets, length);
	count_packet(N64_4TO6, index, packets, length);
	if (pod_ifindex) {
		/* The node's forwarding, which decrements, is left out. */
		p.hop_limit_out = p.hop_limit - 1;
		count_accelerated(N64_4TO6, packets, length);
	}
	rfc6052_compose(&cfg.prefixes[flow->prefix & (N64_MAX_PREFIXES - 1)], key.src_be, (__u8 *)&ip6.saddr);
	copy16(&ip6.daddr, flow->src);
	if (p.more) {
		struct n64_making *new = frag_start4(&p, key.src_be, key.dst_be);

		if (new) {
			copy16(new->frag.src, &ip6.saddr);
			copy16(new->frag.dst, &ip6.daddr);
			frag_remember();
		}
	}

	/* The Fragment Header of what will be cut: offset 0, nothing after it. */
	if (split)
		p.fragmented = 1;

	/* ---- point of no return: from here a failure drops ---- */
	if (cfg.mss_clamp && index == N64_TCP && (p.tcp_flags & TCP_FLAG_SYN)) {
		struct mss_path path = { .pool = key.dst_be, .server = key.src_be };

		copy16(path.pod, flow->src);
		if (mss_clamp(skb, &p, &path))
			return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	}
	if (zero_checksum && udp_checksum_compute(skb, &p, &key, hold))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	if (index == N64_ICMP)
		rewrite_echo_4to6(skb, &p, &key, flow, hold ? hold->payload_length : p.end - p.l4_off);
	else
		rewrite_port(skb, &p, flow->csum_delta, p.dport, flow->port_be, p.l4_off + 2);
	if (rewrite_headers_4to6(skb, &p, &ip6))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	if (pod_ifindex)
		return egress_pod(skb);
	return split ? split_away(skb, &p) : egress_ip6(skb);
}
