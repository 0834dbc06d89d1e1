/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP errors that the data plane makes itself (RFC 4443, RFC 792): under eBPF host routing the kernel makes none. */
#pragma once

#include "csum_packet.h"
#include "egress.h"
#include "events.h"
#include "parse.h"
#include "partial.h"
#include "policy.h"
#include "rate.h"

#define ICMP_ERRORS_PER_SECOND 1000
#define ICMP_ERRORS_PER_SOURCE 100
#define OWN_HOP_LIMIT 64
/* RFC 1812 4.3.2.3 */
#define ICMP4_MAX 576

struct icmp_answer {
	__u8 type;
	__u8 code;
	/* Pointer or MTU. */
	__u32 rest;
};

/*
 * RFC 4443 2.4(f), RFC 1812 4.3.2.8: a token bucket a family, and one more for sizes: who has no path MTU stands still, so
 * nobody else's errors may use it up. Below them a bucket for each that errors go to, so that one's flood leaves the others
 * theirs.
 */
static __always_inline bool rate_allows(__u32 family, __u32 reason, __u32 source)
{
	__u32 kind = family + (reason == N64_DROP_TOO_BIG ? 2 : 0);
	__u32 below = kind * N64_RATE_SOURCES + source;
	struct n64_rate *rate = bpf_map_lookup_elem(&n64_rate_source, &below);

	if (!rate || !rate_take(rate, ICMP_ERRORS_PER_SOURCE))
		return false;
	rate = bpf_map_lookup_elem(&n64_rate, &kind);
	return rate && rate_take(rate, ICMP_ERRORS_PER_SECOND);
}

/*
 * [eth][ip6][payload…]  →  [eth][ip6 to the sender][icmp6][ip6][payload…, cut to 1280]
 * The source is the translator's own (RFC 4443 2.2), which is routed to the device: reverse-path filters let it in.
 */
GLOBAL int icmp6_send(struct __sk_buff *skb, struct icmp_answer *answer)
{
	struct {
		struct ipv6hdr ip6;
		__u8 type, code;
		__sum16 check;
		__be32 rest;
	} outer = {};
	struct ipv6hdr inner;
	__u32 length = skb->len;
	long sum;

	if (!answer || bpf_skb_load_bytes(skb, L3_OFF, &inner, sizeof(inner)))
		return TC_ACT_SHOT;
	if (length > L3_OFF + IPV6_MIN_MTU - IP6_LEN - ICMP_LEN)
		length = L3_OFF + IPV6_MIN_MTU - IP6_LEN - ICMP_LEN;
	/* Also where nothing is cut: it turns a GSO packet into a plain one. */
	if (bpf_skb_change_tail(skb, length, 0) || partial_end(skb, IP6_LEN))
		return TC_ACT_SHOT;
	if (bpf_skb_adjust_room(skb, IP6_LEN + ICMP_LEN, BPF_ADJ_ROOM_NET, 0))
		return TC_ACT_SHOT;
	/* RFC 5508 REQ-10: the diffserv class of the packet it is about. */
	ip6_set_start(&outer.ip6, ip6_traffic_class(&inner));
	outer.ip6.payload_len = bpf_htons(length - L3_OFF + ICMP_LEN);
	outer.ip6.nexthdr = IPPROTO_ICMPV6;
	outer.ip6.hop_limit = OWN_HOP_LIMIT;
	config_copy16(&outer.ip6.saddr, cfg.node6);
	__builtin_memcpy(&outer.ip6.daddr, &inner.saddr, 16);
	outer.type = answer->type;
	outer.code = answer->code;
	outer.rest = bpf_htonl(answer->rest);
	if (bpf_skb_store_bytes(skb, L3_OFF + IP6_LEN + ICMP_LEN, &inner, sizeof(inner), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, L3_OFF, &outer, sizeof(outer), BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_SHOT;
	sum = csum_packet(skb, L3_OFF + IP6_LEN, skb->len);
	if (sum < 0)
		return TC_ACT_SHOT;
	sum = csum_add(sum, csum_add(csum_ip6(&outer.ip6.saddr), csum_ip6(&outer.ip6.daddr)));
	outer.check = csum_fold(csum_add(sum, csum_icmp6_pseudo_tail(length - L3_OFF + ICMP_LEN)));
	if (bpf_skb_store_bytes(skb, L3_OFF + IP6_LEN + 2, &outer.check, 2, BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_SHOT;
	return egress_ip6(skb);
}

/* The same for IPv4; the source is the pool address that the packet was for, which is what its sender knows us by. */
GLOBAL int icmp4_send(struct __sk_buff *skb, struct icmp_answer *answer)
{
	struct {
		struct iphdr ip4;
		__u8 type, code;
		__sum16 check;
		__be32 rest;
	} outer = {};
	struct iphdr inner;
	__u32 length = skb->len;
	struct way way = {};
	long sum;

	if (!answer || bpf_skb_load_bytes(skb, L3_OFF, &inner, sizeof(inner)) ||
	    way_ip4(skb, &way, inner.daddr, inner.saddr, 0))
		return TC_ACT_SHOT;
	if (length > L3_OFF + ICMP4_MAX - IP4_LEN - ICMP_LEN)
		length = L3_OFF + ICMP4_MAX - IP4_LEN - ICMP_LEN;
	if (bpf_skb_change_tail(skb, length, 0) || partial_end(skb, IP4_LEN))
		return TC_ACT_SHOT;
	if (bpf_skb_adjust_room(skb, IP4_LEN + ICMP_LEN, BPF_ADJ_ROOM_NET, 0))
		return TC_ACT_SHOT;
	outer.ip4.version = 4;
	outer.ip4.ihl = 5;
	outer.ip4.tos = inner.tos;
	outer.ip4.tot_len = bpf_htons(length - L3_OFF + IP4_LEN + ICMP_LEN);
	outer.ip4.id = bpf_get_prandom_u32();
	outer.ip4.ttl = OWN_HOP_LIMIT;
	outer.ip4.protocol = IPPROTO_ICMP;
	outer.ip4.saddr = inner.daddr;
	outer.ip4.daddr = inner.saddr;
	ip4_set_check(&outer.ip4);
	outer.type = answer->type;
	outer.code = answer->code;
	outer.rest = bpf_htonl(answer->rest);
	if (bpf_skb_store_bytes(skb, L3_OFF + IP4_LEN + ICMP_LEN, &inner, sizeof(inner), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, L3_OFF, &outer, sizeof(outer), BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_SHOT;
	sum = csum_packet(skb, L3_OFF + IP4_LEN, skb->len);
	if (sum < 0)
		return TC_ACT_SHOT;
	outer.check = csum_fold(sum);
	if (bpf_skb_store_bytes(skb, L3_OFF + IP4_LEN + 2, &outer.check, 2, BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_SHOT;
	return egress_ip4(skb, &way);
}

/* What a pod is told about a packet that was refused; false: nothing. */
static __always_inline bool icmp6_answer(__u32 reason, struct icmp_answer *v)
{
	switch (reason) {
	case N64_DROP_HOP_LIMIT:
		v->type = ICMPV6_TIME_EXCEED;
		return true;
	case N64_DROP_TOO_BIG:
		v->type = ICMPV6_PKT_TOOBIG;
		return true;
	case N64_DROP_SOURCE_ROUTE:
		v->type = ICMPV6_PARAMPROB;
		return true;
	case N64_DROP_POOL_EXHAUSTED:
	case N64_DROP_POD_QUOTA:
	case N64_DROP_SESSIONS_FULL:
	case N64_DROP_NOT_CONFIGURED:
		/* RFC 6146 3.5.1.1, and conflict C-04: address unreachable, a soft error. */
		v->type = ICMPV6_DEST_UNREACH;
		v->code = ICMPV6_ADDR_UNREACH;
		return true;
	case N64_DROP_NO_NEIGHBOUR:
		/* RFC 4443 3.1 */
		v->type = ICMPV6_DEST_UNREACH;
		v->code = ICMPV6_ADDR_UNREACH;
		return true;
	case N64_DROP_NO_ROUTE:
		/* RFC 4443 3.1 */
		v->type = ICMPV6_DEST_UNREACH;
		v->code = ICMPV6_NOROUTE;
		return true;
	case N64_DROP_PROTOCOL:
		/* RFC 6146 3.4 */
		v->type = ICMPV6_DEST_UNREACH;
		v->code = ICMPV6_PORT_UNREACH;
		return true;
	case N64_DROP_DST_NEVER:
	case N64_DROP_DST_NON_GLOBAL:
	case N64_DROP_DST_NODE:
	case N64_DROP_DST_DENIED:
	case N64_DROP_DST_POOL:
	case N64_DROP_DST_MALFORMED:
	case N64_DROP_SOURCE_NOT_ALLOWED:
	case N64_DROP_NOT_ADMITTED:
		/* RFC 7915 5.4: administratively prohibited. */
		v->type = ICMPV6_DEST_UNREACH;
		v->code = ICMPV6_ADM_PROHIBITED;
		return true;
	}
	return false;
}

static __always_inline bool icmp4_answer(__u32 reason, struct icmp_answer *v)
{
	switch (reason) {
	case N64_DROP_HOP_LIMIT:
		v->type = ICMP_TIME_EXCEEDED;
		return true;
	case N64_DROP_TOO_BIG:
		v->type = ICMP_DEST_UNREACH;
		v->code = ICMP_FRAG_NEEDED;
		return true;
	case N64_DROP_SOURCE_ROUTE:
		v->type = ICMP_DEST_UNREACH;
		v->code = ICMP_SR_FAILED;
		return true;
	}
	return false;
}

/* Counts a refused packet and answers its sender where an RFC asks for it. `rest` is the MTU or the pointer. */
GLOBAL int refuse6(struct __sk_buff *skb, struct packet *p, __u32 reason, __u32 rest)
{
	struct icmp_answer answer = { .rest = rest };
	struct ipv6hdr ip6;

	drop(skb, reason, N64_6TO4);
	if (!p || !icmp6_answer(reason, &answer))
		return TC_ACT_SHOT;
	/* RFC 4443 2.4(e): never about an ICMPv6 error or redirect, nor to a multicast or unspecified source. */
	if (p->protocol == IPPROTO_ICMPV6 && (p->icmp_type < 128 || p->icmp_type == 137))
		return TC_ACT_SHOT;
	if (bpf_skb_load_bytes(skb, L3_OFF, &ip6, sizeof(ip6)) || ip6_source_illegal((const __u8 *)&ip6.saddr))
		return TC_ACT_SHOT;
	/* RFC 6146 3.5: nor to an address under our own prefix, which would come back to us. */
	if (prefix_of(&ip6.saddr) >= 0)
		return TC_ACT_SHOT;
	return rate_allows(1, reason, rate_source(&ip6.saddr, 4)) ? icmp6_send(skb, &answer) : TC_ACT_SHOT;
}

GLOBAL int refuse4(struct __sk_buff *skb, struct packet *p, __u32 reason, __u32 rest)
{
	struct icmp_answer answer = { .rest = rest };
	struct iphdr ip4;

	drop(skb, reason, N64_4TO6);
	if (!p || !icmp4_answer(reason, &answer))
		return TC_ACT_SHOT;
	/* RFC 1812 4.3.2.7: not about an ICMP error, a later fragment, an invalid source. */
	if (p->protocol == IPPROTO_ICMP && p->icmp_type != ICMP_ECHO && p->icmp_type != ICMP_ECHOREPLY)
		return TC_ACT_SHOT;
	if (p->frag_off || bpf_skb_load_bytes(skb, L3_OFF, &ip4, sizeof(ip4)))
		return TC_ACT_SHOT;
	if (ip4_source_illegal(ip4.saddr))
		return TC_ACT_SHOT;
	return rate_allows(0, reason, rate_source(&ip4.saddr, 1)) ? icmp4_send(skb, &answer) : TC_ACT_SHOT;
}
