/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What ICMP errors of both directions do with the packet that they quote (RFC 6146 3.4, 3.6, RFC 5508). They are rare, so
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
	__u8 hairpin;
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
