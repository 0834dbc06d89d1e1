/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP errors from IPv4 to IPv6 (RFC 7915 4.2, 4.3). */
#pragma once

#include "icmp_quote.h"

/* Reads the quoted IPv4 packet, which was ours: (T,t) → (Z,z). */
GLOBAL int quoted_read4(struct __sk_buff *skb, struct packet *p, struct quoted *q)
{
	__u32 at, ihl;
	__be16 ports[2];
	long sum;
	struct n64_flow4_key key = {};
	struct n64_bib4_key bib_key = {};
	struct n64_flow4 *flow;
	struct n64_bib4 *bib;
	struct iphdr ip4;
	__u8 icmp_type = 0;
	int index;

	if (!p || !q)
		return N64_DROP_ICMP_ERROR_SHORT;
	at = p->l4_off + ICMP_LEN;
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
	q->more = q->fragmented = !!(ip4.frag_off & bpf_htons(0x2000));
	q->ip4_id = ip4.id;
	q->total = bpf_ntohs(ip4.tot_len);
	q->payload = q->total > ihl ? q->total - ihl : 0;
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
 * C-02: the router's own address under the prefix, so that traceroute shows it. Where the prefix may not carry it (RFC 6052
 * 3.1: routers of private networks), one of the translator's (RFC 6791): the destination's would make them look like it.
 */
GLOBAL int error_source6(__u32 prefix, __be32 router, struct in6_addr *source)
{
	int reason;

	if (!source)
		return -1;
	if (ip4_source_illegal(router)) {
		config_copy16(source, cfg.node6);
		return 0;
	}
	reason = policy_destination(router, prefix);
	if (!reason || reason == N64_DROP_DST_POOL)
		address_under(prefix, router, source);
	else if (cfg.error_prefix.length)
		rfc6052_compose(&cfg.error_prefix, router, (__u8 *)source);
	else
		config_copy16(source, cfg.node6);
	return 0;
}

/*
 * [eth][ip4][options][icmp][ip4][options][l4…][extensions]  →  [eth][ip6][icmp6][ip6][fragment][l4…][extensions]
 */
GLOBAL int icmp_error_write6(struct __sk_buff *skb, struct packet *p, struct error_scratch *scratch, __be32 router)
{
	struct icmp_answer *answer;
	struct quoted *q;
	__u32 length, between, head;
	long sum;

	if (!p || !scratch)
		return -1;
	answer = &scratch->answer;
	q = &scratch->quoted;
	/* Between the outer IP header's first 20 bytes and the quoted transport header. */
	between = q->l4_off - L3_OFF - IP4_LEN;
	head = ICMP_LEN + IP6_LEN + (q->fragmented ? FRAG_LEN : 0);
	length = head + q->padded + q->extensions;

	ip6_set_start(&scratch->six.inner, q->traffic_class);
	scratch->six.inner.payload_len = bpf_htons(q->payload + head - ICMP_LEN - IP6_LEN);
	scratch->six.inner.nexthdr = q->protocol == N64_TCP   ? IPPROTO_TCP
				     : q->protocol == N64_UDP ? IPPROTO_UDP
							      : IPPROTO_ICMPV6;
	if (q->fragmented) {
		/* RFC 7915 4.1. It is the first one: only that has ports to be known by. */
		scratch->six.frag.next = scratch->six.inner.nexthdr;
		scratch->six.frag.offset = bpf_htons(1);
		scratch->six.frag.id = bpf_htonl(bpf_ntohs(q->ip4_id));
		scratch->six.inner.nexthdr = IPPROTO_FRAGMENT;
	}
	/* RFC 7915 4.3: the quoted hop limit is not decremented. */
	scratch->six.inner.hop_limit = q->ttl;
	copy16(&scratch->six.inner.saddr, q->pod);
	address_under(q->prefix, q->remote, &scratch->six.inner.daddr);

	ip6_set_start(&scratch->six.ip6, p->traffic_class);
	scratch->six.ip6.payload_len = bpf_htons(length);
	scratch->six.ip6.nexthdr = IPPROTO_ICMPV6;
	scratch->six.ip6.hop_limit = p->hop_limit_out;
	error_source6(q->prefix, router, &scratch->six.ip6.saddr);
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
	if (quoted_end(skb, scratch) || bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0))
		return -1;
	if (between != head && bpf_skb_adjust_room(skb, head - between, BPF_ADJ_ROOM_NET, 0))
		return -1;
	if (bpf_skb_store_bytes(skb, L3_OFF, &scratch->six, IP6_LEN + head, BPF_F_RECOMPUTE_CSUM))
		return -1;
	sum = csum_packet(skb, L3_OFF + IP6_LEN, skb->len);
	if (sum < 0)
		return -1;
	sum = csum_add(sum, csum_add(csum_ip6(&scratch->six.ip6.saddr), csum_ip6(&scratch->six.ip6.daddr)));
	scratch->six.check = csum_fold(csum_add(sum, csum_icmp6_pseudo_tail(length)));
	return bpf_skb_store_bytes(skb, L3_OFF + IP6_LEN + 2, &scratch->six.check, 2, BPF_F_RECOMPUTE_CSUM);
}

GLOBAL bool icmp_error4_ours(struct __sk_buff *skb, struct packet *p)
{
	struct error_scratch *scratch = error_scratch();

	return scratch && p && !quoted_read4(skb, p, &scratch->quoted);
}

GLOBAL int icmp_error4(struct __sk_buff *skb, struct packet *p, __be32 router)
{
	struct error_scratch *scratch = error_scratch();
	__u32 rest;
	int reason;
	long sum;

	if (!scratch || !p)
		return TC_ACT_SHOT;
	rest = bpf_ntohl(p->icmp_rest);
	reason = quoted_read4(skb, p, &scratch->quoted);
	if (!reason)
		reason = icmp_error_4to6(p->icmp_type, p->icmp_code, rest, scratch->quoted.total, &scratch->answer);
	if (reason)
		return drop(skb, reason, N64_4TO6);
	/* RFC 5508 REQ-3: a wrong checksum is never repaired. */
	sum = csum_packet(skb, p->l4_off, p->end);
	if (sum < 0 || csum_fold(sum))
		return drop(skb, N64_DROP_ICMP_ERROR_CHECKSUM, N64_4TO6);
	if (quoted_fit(skb, p, scratch, (rest >> 16 & 0xff) * 4, 8) || icmp_error_write6(skb, p, scratch, router))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6);
	count_packet(N64_4TO6, N64_ICMP, 1, p->end - L3_OFF);
	return egress_ip6(skb);
}
