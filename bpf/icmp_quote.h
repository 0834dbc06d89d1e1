/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What ICMP errors of both directions do with the packet that they quote (RFC 6146 3.4, 3.6, RFC 5508). They are rare, so
 * clarity comes first: the checksum that came is verified, the one that goes is computed anew. Errors never touch state.
 */
#pragma once

#include "icmp_types.h"
#include "step.h"
#include "split.h"

/* What of the quoted packet's flow both directions need. */
struct quoted {
	/* Where its transport header stands, and where the quote ends. */
	__u32 l4_off;
	__u32 end;
	/* Its length, as its IP header says, with IP headers (4to6 alone) and without. */
	__u32 total;
	__u32 payload;
	/* From its transport header on: how much of the quote goes on, to where it is padded, and extensions behind it. */
	__u32 kept;
	__u32 padded;
	__u32 extensions;
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

/* RFC 4884 3: where extensions follow, the quote is not shorter. */
#define QUOTE_LEAST 128
/* More than an error of 1280 bytes has room for behind such a quote; a power of two. */
#define EXTENSIONS_MAX 2048

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
			/* If the quote is of a fragment. */
			struct fragment_header frag;
		} six;
		struct {
			struct iphdr ip4;
			__u8 type, code;
			__sum16 check;
			__be32 rest;
			struct iphdr inner;
		} four;
	};
	/* Not cleared. */
	__u8 extensions[EXTENSIONS_MAX];
};

ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_scratch, struct error_scratch, 1);

static __always_inline struct error_scratch *error_scratch(void)
{
	struct error_scratch *scratch;
	__u32 zero = 0;

	scratch = bpf_map_lookup_elem(&n64_scratch, &zero);
	if (scratch)
		__builtin_memset(scratch, 0, offsetof(struct error_scratch, extensions));
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

/*
 * RFC 4884: an error that says how long its quote is, `length` bytes, may have extensions behind it. Those go on unchanged,
 * with a length in the `unit` of the other side: 8 bytes in ICMPv6, 4 in ICMPv4. The quote is padded to that unit, and cut
 * where both are more than an error may have; extensions without room behind the shortest quote are left out, and so are
 * those for which the other side's error has no length (RFC 7915 4.2).
 */
GLOBAL int quoted_fit(struct __sk_buff *skb, struct packet *p, struct error_scratch *scratch, __u32 length, __u32 unit)
{
	bool six = unit == 8;
	__u32 room, header, start, size, quote;
	struct quoted *q;

	if (!p || !scratch)
		return -1;
	q = &scratch->quoted;
	header = six ? IP6_LEN + (q->fragmented ? FRAG_LEN : 0) : IP4_LEN;
	/* RFC 4443 2.4(c), RFC 1812 4.3.2.3 */
	room = six ? IPV6_MIN_MTU - IP6_LEN - ICMP_LEN : ICMP4_MAX - IP4_LEN - ICMP_LEN;
	start = p->l4_off + ICMP_LEN;
	size = 0;
	if (length && start + length <= q->end && q->l4_off + 8 <= start + length) {
		size = q->end - start - length;
		q->end = start + length;
	}
	q->kept = min_u32(q->end - q->l4_off, room - header);
	q->padded = q->kept;
	if (!size || size > room - QUOTE_LEAST ||
	    (six && scratch->answer.type != ICMPV6_DEST_UNREACH && scratch->answer.type != ICMPV6_TIME_EXCEED))
		return 0;
	quote = max_u32(QUOTE_LEAST, (header + q->kept + unit - 1) & -unit);
	quote = min_u32(quote, (room - size) & -unit);
	q->kept = min_u32(q->kept, quote - header);
	q->padded = quote - header;
	q->extensions = size;
	/* The first byte of the word, or the second. */
	scratch->answer.rest |= six ? quote / 8 << 24 : quote / 4 << 16;
	barrier_var(size);
	return bpf_skb_load_bytes(skb, start + length, scratch->extensions, ((size - 1) & (EXTENSIONS_MAX - 1)) + 1);
}

/* Ends the packet as quoted_fit() found. */
static __noinline int quoted_end(struct __sk_buff *skb, struct error_scratch *scratch)
{
	struct quoted *q = &scratch->quoted;
	__u32 size = q->extensions, at = q->l4_off + q->padded;

	if (bpf_skb_change_tail(skb, q->l4_off + q->kept, 0))
		return -1;
	if (!size)
		return 0;
	/* What is new is zero. */
	if (bpf_skb_change_tail(skb, at + size, 0))
		return -1;
	barrier_var(size);
	size = ((size - 1) & (EXTENSIONS_MAX - 1)) + 1;
	return bpf_skb_store_bytes(skb, at, scratch->extensions, size, BPF_F_RECOMPUTE_CSUM);
}
