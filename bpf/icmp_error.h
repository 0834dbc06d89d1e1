/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * ICMP errors with the packet they quote (RFC 6146 3.4, 3.6, RFC 7915 4.2, 4.3, 5.2, 5.3, RFC 5508). They are rare, so
 * clarity comes first: the checksum that came is verified, the one that goes is computed anew. Errors never touch state.
 */
#pragma once

#include "icmp_types.h"
#include "session.h"

/* What of the quoted packet's flow both directions need. */
struct quoted {
	/* Where its transport header stands, and where the quote ends. */
	__u32 l4_off;
	__u32 end;
	/* Its length, as its IP header says, without IP headers. */
	__u32 payload;
	__u8 protocol;
	__u8 ttl;
	__u8 traffic_class;
	__u8 prefix;
	__u8 fragmented;
	__u8 more;
	__be16 ip4_id;
	__be32 pool;
	__be32 remote;
	__be16 port_old;
	__be16 port_new;
	/* The pod */
	__u8 pod[16];
};

/* Headers under construction: two pairs of them are more than the stack has room for. A processor builds one at a time. */
struct error_scratch {
	struct quoted quoted;
	struct icmp_answer answer;
	/* The quoted packet, while it is being read. */
	struct packet inner;
	struct ipv6hdr inner6;
	union {
		struct {
			struct ipv6hdr ip6;
			__u8 type, code;
			__sum16 check;
			__be32 rest;
			struct ipv6hdr inner;
		} six;
		struct {
			struct iphdr ip4;
			__u8 type, code;
			__sum16 check;
			__be32 rest;
			struct iphdr inner;
		} four;
	};
};

ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_scratch, struct error_scratch, 1);

static __always_inline struct error_scratch *error_scratch(void)
{
	struct error_scratch *scratch;
	__u32 zero = 0;

	scratch = bpf_map_lookup_elem(&n64_scratch, &zero);
	if (scratch)
		__builtin_memset(scratch, 0, sizeof(*scratch));
	return scratch;
}

/*
 * Rewrites the port that changes and the checksum in the quoted transport header, as far as they were quoted.
 * `addresses` is the checksum difference of the quoted addresses, `at` where the port stands.
 */
static __noinline void quoted_rewrite(struct __sk_buff *skb, struct quoted *q, __u32 addresses, __u32 at)
{
	__u32 offset = q->protocol == N64_TCP ? 16 : q->protocol == N64_UDP ? 6 : 2;
	__u32 delta = csum_add(addresses, csum_sub(q->port_new, q->port_old));
	__sum16 check;

	bpf_skb_store_bytes(skb, at, &q->port_new, 2, BPF_F_RECOMPUTE_CSUM);
	if (q->l4_off + offset + 2 > q->end || bpf_skb_load_bytes(skb, q->l4_off + offset, &check, 2))
		return;
	if (q->protocol == N64_UDP && !check)
		return;
	csum_field_replace(&check, delta);
	if (q->protocol == N64_UDP && !check)
		check = 0xffff;
	bpf_skb_store_bytes(skb, q->l4_off + offset, &check, 2, BPF_F_RECOMPUTE_CSUM);
}

static __noinline void quoted_set_type(struct __sk_buff *skb, __u32 at, __u8 type)
{
	bpf_skb_store_bytes(skb, at, &type, 1, BPF_F_RECOMPUTE_CSUM);
}

/* ---- IPv4 to IPv6 ---- */

/* Reads the quoted IPv4 packet, which was ours: (T,t) → (Z,z). */
static __noinline int quoted_read4(struct __sk_buff *skb, struct packet *p, struct quoted *q, __u32 *total)
{
	__u32 at = p->l4_off + ICMP_LEN, ihl;
	__be16 ports[2];
	long sum;
	struct n64_flow4_key key = {};
	struct n64_bib4_key bib_key = {};
	struct n64_flow4 *flow;
	struct n64_bib4 *bib;
	struct iphdr ip4;
	__u8 icmp_type = 0;
	int index;

	if (bpf_skb_load_bytes(skb, at, &ip4, sizeof(ip4)))
		return N64_DROP_ICMP_ERROR_SHORT;
	ihl = ip4.ihl * 4;
	if (ip4.version != 4 || ihl < IP4_LEN)
		return N64_DROP_MALFORMED;
	if (at + ihl + 8 > p->end)
		return N64_DROP_ICMP_ERROR_SHORT;
	/* RFC 5508 REQ-3a */
	sum = csum_packet(skb, at, at + ihl);
	if (sum < 0 || csum_fold(sum))
		return N64_DROP_ICMP_ERROR_CHECKSUM;
	/* A quoted later fragment has no ports. */
	if (ip4.frag_off & bpf_htons(0x1fff))
		return N64_DROP_ICMP_ERROR_SHORT;
	index = protocol_index(ip4.protocol);
	if (index < 0 || ip4.protocol == IPPROTO_ICMPV6)
		return N64_DROP_PROTOCOL;
	q->l4_off = at + ihl;
	q->end = p->end;
	q->protocol = index;
	q->ttl = ip4.ttl;
	q->traffic_class = ip4.tos;
	q->pool = ip4.saddr;
	q->remote = ip4.daddr;
	*total = bpf_ntohs(ip4.tot_len);
	q->payload = *total > ihl ? *total - ihl : 0;
	key.src_be = ip4.daddr;
	key.dst_be = ip4.saddr;
	key.protocol = index;
	if (is_icmp(index)) {
		bpf_skb_load_bytes(skb, q->l4_off, &icmp_type, 1);
		if (icmp_type != ICMP_ECHO && icmp_type != ICMP_ECHOREPLY)
			return N64_DROP_ICMP_ERROR_NESTED;
		bpf_skb_load_bytes(skb, q->l4_off + 4, ports, 2);
	} else {
		bpf_skb_load_bytes(skb, q->l4_off, ports, 4);
		key.sport_be = ports[1];
	}
	key.dport_be = ports[0];
	q->port_old = ports[0];
	flow = bpf_map_lookup_elem(&n64_flow4, &key);
	if (flow) {
		copy16(q->pod, flow->src);
		q->port_new = flow->port_be;
		q->prefix = flow->prefix;
		return N64_PASS;
	}
	/* The session may have gone, the binding is what counts (RFC 5508 REQ-4). */
	bib_key.pool_be = key.dst_be;
	bib_key.port_be = key.dport_be;
	bib_key.protocol = index;
	bib = bpf_map_lookup_elem(&n64_bib4, &bib_key);
	if (!bib)
		return N64_DROP_ICMP_ERROR_UNKNOWN;
	copy16(q->pod, bib->src);
	q->port_new = bib->port_be;
	q->prefix = prefix_first();
	/* The quote is the sender's word then: from where the pod may not go, nothing comes (RFC 6052 5.3). */
	return policy_destination(q->remote, q->prefix) ? N64_DROP_FILTERED : N64_PASS;
}

/*
 * [eth][ip4][options][icmp][ip4][options][l4…]  →  [eth][ip6][icmp6][ip6][l4…]
 */
static __noinline int icmp_error_write6(struct __sk_buff *skb, struct packet *p, struct error_scratch *scratch,
					__be32 router)
{
	const volatile struct n64_prefix *prefix;
	struct icmp_answer *answer = &scratch->answer;
	struct quoted *q = &scratch->quoted;
	__u32 quoted_len, between;
	long sum;

	prefix = &cfg.prefixes[q->prefix & (N64_MAX_PREFIXES - 1)];
	/* Between the outer IP header's first 20 bytes and the quoted transport header. */
	between = q->l4_off - L3_OFF - IP4_LEN;
	quoted_len = q->end - q->l4_off;
	/* RFC 4443 2.4(c) */
	quoted_len = min_u32(quoted_len, IPV6_MIN_MTU - 2 * IP6_LEN - ICMP_LEN);

	ip6_set_start(&scratch->six.inner, q->traffic_class);
	scratch->six.inner.payload_len = bpf_htons(q->payload);
	scratch->six.inner.nexthdr = q->protocol == N64_TCP   ? IPPROTO_TCP
				     : q->protocol == N64_UDP ? IPPROTO_UDP
							      : IPPROTO_ICMPV6;
	/* RFC 7915 4.3: the quoted hop limit is not decremented. */
	scratch->six.inner.hop_limit = q->ttl;
	copy16(&scratch->six.inner.saddr, q->pod);
	rfc6052_compose(prefix, q->remote, (__u8 *)&scratch->six.inner.daddr);

	ip6_set_start(&scratch->six.ip6, p->traffic_class);
	scratch->six.ip6.payload_len = bpf_htons(ICMP_LEN + IP6_LEN + quoted_len);
	scratch->six.ip6.nexthdr = IPPROTO_ICMPV6;
	scratch->six.ip6.hop_limit = p->hop_limit - 1;
	/* C-02: the router's own address, so that traceroute shows it; Z where the prefix may not carry it. */
	if (ip4_source_illegal(router) || policy_destination(router, q->prefix))
		router = q->remote;
	rfc6052_compose(prefix, router, (__u8 *)&scratch->six.ip6.saddr);
	copy16(&scratch->six.ip6.daddr, q->pod);
	scratch->six.type = answer->type;
	scratch->six.code = answer->code;
	scratch->six.rest = bpf_htonl(answer->rest);

	/* ---- point of no return ---- */
	if (is_icmp(q->protocol)) {
		__u8 type = 0;
		__u32 pseudo = csum_add(csum_ip6(&scratch->six.inner.saddr), csum_ip6(&scratch->six.inner.daddr));

		bpf_skb_load_bytes(skb, q->l4_off, &type, 1);
		pseudo = csum_add(pseudo, csum_icmp6_pseudo_tail(q->payload));
		type = type == ICMP_ECHO ? ICMPV6_ECHO_REQUEST : ICMPV6_ECHO_REPLY;
		pseudo = csum_add(pseudo, bpf_htons((__u16)type << 8));
		pseudo =
			csum_sub(pseudo, bpf_htons(type == ICMPV6_ECHO_REQUEST ? ICMP_ECHO << 8 : ICMP_ECHOREPLY << 8));
		quoted_set_type(skb, q->l4_off, type);
		quoted_rewrite(skb, q, pseudo, q->l4_off + 4);
	} else {
		__u32 delta = csum_add(csum_ip6(&scratch->six.inner.saddr), csum_ip6(&scratch->six.inner.daddr));

		quoted_rewrite(skb, q, csum_sub(delta, csum_ip4_pair(q->pool, q->remote)), q->l4_off);
	}
	if (bpf_skb_change_tail(skb, q->l4_off + quoted_len, 0) || bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0))
		return -1;
	if (between != ICMP_LEN + IP6_LEN &&
	    bpf_skb_adjust_room(skb, ICMP_LEN + IP6_LEN - between, BPF_ADJ_ROOM_NET, 0))
		return -1;
	if (bpf_skb_store_bytes(skb, L3_OFF, &scratch->six, sizeof(scratch->six), BPF_F_RECOMPUTE_CSUM))
		return -1;
	sum = csum_packet(skb, L3_OFF + IP6_LEN, skb->len);
	if (sum < 0)
		return -1;
	sum = csum_add(sum, csum_add(csum_ip6(&scratch->six.ip6.saddr), csum_ip6(&scratch->six.ip6.daddr)));
	scratch->six.check = csum_fold(csum_add(sum, csum_icmp6_pseudo_tail(ICMP_LEN + IP6_LEN + quoted_len)));
	return bpf_skb_store_bytes(skb, L3_OFF + IP6_LEN + 2, &scratch->six.check, 2, BPF_F_RECOMPUTE_CSUM);
}

GLOBAL bool icmp_error4_ours(struct __sk_buff *skb, struct packet *p)
{
	struct error_scratch *scratch = error_scratch();
	__u32 total;

	return scratch && p && !quoted_read4(skb, p, &scratch->quoted, &total);
}

GLOBAL int icmp_error4(struct __sk_buff *skb, struct packet *p, __be32 router)
{
	struct error_scratch *scratch = error_scratch();
	__u32 rest, total = 0, length;
	int reason;
	long sum;

	if (!scratch || !p)
		return TC_ACT_SHOT;
	rest = bpf_ntohl(p->icmp_rest);
	reason = quoted_read4(skb, p, &scratch->quoted, &total);
	if (!reason)
		reason = icmp_error_4to6(p->icmp_type, p->icmp_code, rest, total, &scratch->answer);
	if (reason)
		return drop(skb, reason, N64_4TO6);
	/* RFC 5508 REQ-3: a wrong checksum is never repaired. */
	sum = csum_packet(skb, p->l4_off, p->end);
	if (sum < 0 || csum_fold(sum))
		return drop(skb, N64_DROP_ICMP_ERROR_CHECKSUM, N64_4TO6);
	/* RFC 4884: a length says that extensions follow; they are cut off, and the length with them. */
	length = (rest >> 16 & 0xff) * 4;
	if (length && p->icmp_type != ICMP_PARAMETERPROB &&
	    !(p->icmp_type == ICMP_DEST_UNREACH && p->icmp_code == ICMP_FRAG_NEEDED) &&
	    p->l4_off + ICMP_LEN + length < scratch->quoted.end &&
	    scratch->quoted.l4_off + 8 <= p->l4_off + ICMP_LEN + length)
		scratch->quoted.end = p->l4_off + ICMP_LEN + length;
	if (icmp_error_write6(skb, p, scratch, router))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	count_packet(N64_4TO6, N64_ICMP, 1, p->end - L3_OFF);
	return egress_ip6(skb);
}

/* ---- IPv6 to IPv4 ---- */

/* Reads the quoted IPv6 packet, which we made: (Y',y) → (X',x). */
static __noinline int quoted_read6(struct __sk_buff *skb, struct packet *p, struct error_scratch *scratch)
{
	struct ipv6hdr *ip6 = &scratch->inner6;
	struct packet *inner = &scratch->inner;
	struct quoted *q = &scratch->quoted;
	__u32 at = p->l4_off + ICMP_LEN;
	struct n64_flow6_key key = {};
	struct n64_bib6_key bib_key = {};
	struct n64_flow6 *flow;
	struct n64_bib6 *bib;
	__be16 ports[2];
	__u8 icmp_type = 0;
	int index, prefix;

	if (bpf_skb_load_bytes(skb, at, ip6, sizeof(*ip6)))
		return N64_DROP_ICMP_ERROR_SHORT;
	if (ip6->version != 6)
		return N64_DROP_MALFORMED;
	inner->protocol = ip6->nexthdr;
	if (parse_extensions(skb, inner, at) || inner->frag_off)
		return N64_DROP_ICMP_ERROR_SHORT;
	index = protocol_index(inner->protocol);
	if (index < 0 || inner->protocol == IPPROTO_ICMP)
		return N64_DROP_PROTOCOL;
	prefix = prefix_find(&ip6->saddr);
	if (prefix < 0 || !rfc6052_extract(cfg.prefixes[prefix & (N64_MAX_PREFIXES - 1)].length,
					   (const __u8 *)&ip6->saddr, &q->remote))
		return N64_DROP_ICMP_ERROR_UNKNOWN;
	q->l4_off = inner->l4_off;
	q->end = p->end;
	q->protocol = index;
	q->ttl = ip6->hop_limit;
	q->traffic_class = ip6_traffic_class(ip6);
	q->prefix = prefix;
	q->fragmented = inner->fragmented;
	q->more = inner->more;
	q->ip4_id = inner->fragmented ? bpf_htons(bpf_ntohl(inner->frag_id)) : 0;
	copy16(q->pod, &ip6->daddr);
	q->payload = bpf_ntohs(ip6->payload_len);
	q->payload -= min_u32(q->payload, inner->l4_off - at - IP6_LEN);
	if (q->l4_off + 8 > p->end)
		return N64_DROP_ICMP_ERROR_SHORT;
	copy16(key.src, &ip6->daddr);
	key.dst4_be = q->remote;
	key.protocol = index;
	key.prefix = prefix;
	if (is_icmp(index)) {
		bpf_skb_load_bytes(skb, q->l4_off, &icmp_type, 1);
		if (icmp_type != ICMPV6_ECHO_REQUEST && icmp_type != ICMPV6_ECHO_REPLY)
			return N64_DROP_ICMP_ERROR_NESTED;
		bpf_skb_load_bytes(skb, q->l4_off + 4, &ports[1], 2);
	} else {
		bpf_skb_load_bytes(skb, q->l4_off, ports, 4);
		key.dport_be = ports[0];
	}
	key.sport_be = ports[1];
	q->port_old = ports[1];
	flow = bpf_map_lookup_elem(&n64_flow6, &key);
	if (flow) {
		q->pool = flow->pool_be;
		q->port_new = flow->port_be;
		return N64_PASS;
	}
	copy16(bib_key.src, &ip6->daddr);
	bib_key.port_be = ports[1];
	bib_key.protocol = index;
	bib = bpf_map_lookup_elem(&n64_bib6, &bib_key);
	if (!bib)
		return N64_DROP_ICMP_ERROR_UNKNOWN;
	q->pool = bib->pool_be;
	q->port_new = bib->port_be;
	return N64_PASS;
}

/*
 * [eth][ip6][extensions][icmp6][ip6][extensions][l4…]  →  [eth][ip4][icmp][ip4][l4…]
 */
static __noinline int icmp_error_write4(struct __sk_buff *skb, struct packet *p, struct error_scratch *scratch)
{
	struct icmp_answer *answer = &scratch->answer;
	struct quoted *q = &scratch->quoted;
	__u32 quoted_len, between, total;
	__u8 dst6[16];
	long sum;

	/* What stands between the outer IPv6 header and the quoted transport header; it becomes 28 bytes. */
	between = q->l4_off - L3_OFF - IP6_LEN;
	/* RFC 1812 4.3.2.3 */
	quoted_len = min_u32(q->end - q->l4_off, ICMP4_MAX - 2 * IP4_LEN - ICMP_LEN);

	total = q->payload + IP4_LEN;
	scratch->four.inner.version = 4;
	scratch->four.inner.ihl = 5;
	scratch->four.inner.tos = q->traffic_class;
	scratch->four.inner.tot_len = bpf_htons(total);
	scratch->four.inner.id = q->ip4_id;
	/* The packet we made this from had DF=1 if its IPv6 form was above 1280. */
	if (!q->fragmented && total > IPV6_MIN_MTU - 20)
		scratch->four.inner.frag_off = bpf_htons(0x4000);
	else if (q->more)
		scratch->four.inner.frag_off = bpf_htons(0x2000);
	scratch->four.inner.ttl = q->ttl;
	scratch->four.inner.protocol = q->protocol == N64_TCP	? IPPROTO_TCP
				       : q->protocol == N64_UDP ? IPPROTO_UDP
								: IPPROTO_ICMP;
	scratch->four.inner.saddr = q->remote;
	scratch->four.inner.daddr = q->pool;
	ip4_set_check(&scratch->four.inner);
	scratch->four.type = answer->type;
	scratch->four.code = answer->code;
	scratch->four.rest = bpf_htonl(answer->rest);

	scratch->four.ip4.version = 4;
	scratch->four.ip4.ihl = 5;
	scratch->four.ip4.tos = p->traffic_class;
	scratch->four.ip4.tot_len = bpf_htons(2 * IP4_LEN + ICMP_LEN + quoted_len);
	scratch->four.ip4.id = bpf_get_prandom_u32();
	scratch->four.ip4.ttl = p->hop_limit - 1;
	scratch->four.ip4.protocol = IPPROTO_ICMP;
	/* C-03: T of the binding. */
	scratch->four.ip4.saddr = q->pool;
	scratch->four.ip4.daddr = q->remote;
	ip4_set_check(&scratch->four.ip4);

	rfc6052_compose(&cfg.prefixes[q->prefix & (N64_MAX_PREFIXES - 1)], q->remote, dst6);
	/* ---- point of no return ---- */
	if (is_icmp(q->protocol)) {
		__u32 pseudo = csum_add(csum_ip6(q->pod), csum_ip6(dst6));
		__u8 type = 0;

		bpf_skb_load_bytes(skb, q->l4_off, &type, 1);
		pseudo = csum_add(pseudo, csum_icmp6_pseudo_tail(q->payload));
		pseudo = csum_add(pseudo, bpf_htons((__u16)type << 8));
		type = type == ICMPV6_ECHO_REQUEST ? ICMP_ECHO : ICMP_ECHOREPLY;
		quoted_set_type(skb, q->l4_off, type);
		quoted_rewrite(skb, q, csum_sub(bpf_htons((__u16)type << 8), pseudo), q->l4_off + 4);
	} else {
		__u32 delta = csum_sub(csum_ip4_pair(q->pool, q->remote), csum_add(csum_ip6(q->pod), csum_ip6(dst6)));

		quoted_rewrite(skb, q, delta, q->l4_off + 2);
	}
	if (bpf_skb_change_tail(skb, q->l4_off + quoted_len, 0) ||
	    bpf_skb_adjust_room(skb, (int)(ICMP_LEN + IP4_LEN) - (int)between, BPF_ADJ_ROOM_NET, 0) ||
	    bpf_skb_change_proto(skb, bpf_htons(ETH_P_IP), 0))
		return -1;
	if (bpf_skb_store_bytes(skb, L3_OFF, &scratch->four, sizeof(scratch->four), BPF_F_RECOMPUTE_CSUM))
		return -1;
	sum = csum_packet(skb, L3_OFF + IP4_LEN, skb->len);
	if (sum < 0)
		return -1;
	scratch->four.check = csum_fold(sum);
	return bpf_skb_store_bytes(skb, L3_OFF + IP4_LEN + 2, &scratch->four.check, 2, BPF_F_RECOMPUTE_CSUM);
}

/*
 * Whether `src` may send an error about the quoted flow: the pod that has it, or a router on the way (RFC 4443 2.4), which
 * is whoever has no sessions of its own. And whether an error may go there: a binding outlives what the policy allowed.
 */
static __noinline int error_allowed6(const __u8 *src, const struct quoted *q)
{
	if (!equal16(src, q->pod) && bpf_map_lookup_elem(&n64_pods, src))
		return N64_DROP_ICMP_ERROR_FOREIGN;
	return policy_destination(q->remote, q->prefix);
}

GLOBAL int icmp_error6(struct __sk_buff *skb, struct packet *p)
{
	struct error_scratch *scratch = error_scratch();
	__u32 rest, length;
	struct way way = {};
	struct ipv6hdr ip6;
	int reason;
	long sum;

	if (!scratch || !p || bpf_skb_load_bytes(skb, L3_OFF, &ip6, sizeof(ip6)))
		return TC_ACT_SHOT;
	rest = bpf_ntohl(p->icmp_rest);
	/*
	 * Holds for errors as for all else. Packet Too Big may come from a router that is nobody's pod: without it the path
	 * MTU would be a black hole, and the least that it can say is 1280.
	 */
	reason = policy_source((const __u8 *)&ip6.saddr);
	if (reason == N64_DROP_SOURCE_NOT_ALLOWED && p->icmp_type == ICMPV6_PKT_TOOBIG)
		reason = N64_PASS;
	if (!reason)
		reason = quoted_read6(skb, p, scratch);
	if (!reason)
		reason = error_allowed6((const __u8 *)&ip6.saddr, &scratch->quoted);
	if (!reason)
		reason =
			icmp_error_6to4(p->icmp_type, p->icmp_code, rest, scratch->quoted.fragmented, &scratch->answer);
	if (reason)
		return drop(skb, reason, N64_6TO4);
	sum = csum_packet(skb, p->l4_off, p->end);
	if (sum < 0)
		return drop(skb, N64_DROP_MALFORMED, N64_6TO4);
	sum = csum_add(sum, csum_add(csum_ip6(&ip6.saddr), csum_ip6(&ip6.daddr)));
	if (csum_fold(csum_add(sum, csum_icmp6_pseudo_tail(p->end - p->l4_off))))
		return drop(skb, N64_DROP_ICMP_ERROR_CHECKSUM, N64_6TO4);
	/* RFC 4884 */
	length = (rest >> 24) * 8;
	if (length && (p->icmp_type == ICMPV6_DEST_UNREACH || p->icmp_type == ICMPV6_TIME_EXCEED) &&
	    p->l4_off + ICMP_LEN + length < scratch->quoted.end &&
	    scratch->quoted.l4_off + 8 <= p->l4_off + ICMP_LEN + length)
		scratch->quoted.end = p->l4_off + ICMP_LEN + length;
	reason = way_ip4(skb, &way, scratch->quoted.pool, scratch->quoted.remote, 0);
	if (reason)
		return drop(skb, reason, N64_6TO4);
	if (icmp_error_write4(skb, p, scratch))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_6TO4);
	count_packet(N64_6TO4, N64_ICMP, 1, p->end - L3_OFF);
	return egress_ip4(skb, &way);
}
