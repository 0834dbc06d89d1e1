/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP errors from IPv6 to IPv4 (RFC 7915 5.2, 5.3). */
#pragma once

#include "icmp_quote.h"

/* Reads the quoted IPv6 packet, which we made: (Y',y) → (X',x). */
GLOBAL int quoted_read6(struct __sk_buff *skb, struct packet *p, struct error_scratch *scratch)
{
	struct ipv6hdr *ip6;
	struct packet *inner;
	struct quoted *q;
	__u32 at;
	struct n64_flow6_key key = {};
	struct n64_bib6_key bib_key = {};
	struct n64_flow6 *flow;
	struct n64_bib6 *bib;
	__be16 ports[2];
	__u8 icmp_type = 0;
	int index, prefix;

	if (!p || !scratch)
		return N64_DROP_ICMP_ERROR_SHORT;
	ip6 = &scratch->inner6;
	inner = &scratch->inner;
	q = &scratch->quoted;
	at = p->l4_off + ICMP_LEN;
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
	prefix = prefix_of(&ip6->saddr);
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
		q->hairpin = !!(flow->flags & N64_FLOW_HAIRPIN);
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
 * [eth][ip6][headers][icmp6][ip6][headers][l4…][extensions]  →  [eth][ip4][icmp][ip4][l4…][extensions]
 */
GLOBAL int icmp_error_write4(struct __sk_buff *skb, struct packet *p, struct error_scratch *scratch)
{
	struct icmp_answer *answer;
	struct quoted *q;
	__u32 quoted_len, between, total;
	struct in6_addr dst6;
	long sum;

	if (!p || !scratch)
		return -1;
	answer = &scratch->answer;
	q = &scratch->quoted;
	/* What stands between the outer IPv6 header and the quoted transport header; it becomes 28 bytes. */
	between = q->l4_off - L3_OFF - IP6_LEN;
	quoted_len = q->padded + q->extensions;

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
	scratch->four.ip4.ttl = p->hop_limit_out;
	scratch->four.ip4.protocol = IPPROTO_ICMP;
	/* C-03: T of the binding. */
	scratch->four.ip4.saddr = q->pool;
	scratch->four.ip4.daddr = q->remote;
	ip4_set_check(&scratch->four.ip4);

	address_under(q->prefix, q->remote, &dst6);
	/* ---- point of no return ---- */
	if (is_icmp(q->protocol)) {
		__u32 pseudo = csum_add(csum_ip6(q->pod), csum_ip6(&dst6));
		__u8 type = 0;

		bpf_skb_load_bytes(skb, q->l4_off, &type, 1);
		pseudo = csum_add(pseudo, csum_icmp6_pseudo_tail(q->payload));
		pseudo = csum_add(pseudo, bpf_htons((__u16)type << 8));
		type = type == ICMPV6_ECHO_REQUEST ? ICMP_ECHO : ICMP_ECHOREPLY;
		quoted_set_type(skb, q->l4_off, type);
		quoted_rewrite(skb, q, csum_sub(bpf_htons((__u16)type << 8), pseudo), q->l4_off + 4);
	} else {
		__u32 delta = csum_sub(csum_ip4_pair(q->pool, q->remote), csum_add(csum_ip6(q->pod), csum_ip6(&dst6)));

		quoted_rewrite(skb, q, delta, q->l4_off + 2);
	}
	if (quoted_end(skb, scratch) ||
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
	__u8 of[16], owner[16];
	int reason;

	pod_of(of, src);
	pod_of(owner, q->pod);
	if (!equal16(of, owner) && bpf_map_lookup_elem(&n64_pods, of))
		return N64_DROP_ICMP_ERROR_FOREIGN;
	reason = policy_destination(q->remote, q->prefix);
	return reason == N64_DROP_DST_POOL && q->hairpin ? N64_PASS : reason;
}

GLOBAL int icmp_error6(struct __sk_buff *skb, struct packet *p)
{
	struct error_scratch *scratch = error_scratch();
	__u32 rest, length;
	struct way way = {};
	bool hairpin;
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
	hairpin = scratch->quoted.hairpin;
	if (!hairpin)
		reason = way_ip4(skb, &way, scratch->quoted.pool, scratch->quoted.remote, 0);
	if (reason)
		return drop(skb, reason, N64_6TO4);
	/* RFC 4884 4: these two have a length. */
	length = p->icmp_type == ICMPV6_DEST_UNREACH || p->icmp_type == ICMPV6_TIME_EXCEED ? (rest >> 24) * 8 : 0;
	if (quoted_fit(skb, p, scratch, length, 4) || icmp_error_write4(skb, p, scratch))
		return drop(skb, N64_DROP_REWRITE_FAILED, N64_6TO4);
	count_packet(N64_6TO4, N64_ICMP, 1, p->end - L3_OFF);
	return hairpin ? egress_back(skb) : egress_ip4(skb, &way);
}
