/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Internet checksums (RFC 1071, RFC 1624). Sums are in network order, unfolded in 32 bits. */
#pragma once

#include "common.h"

static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline __u32 csum_add(__u32 sum, __u32 more)
{
	sum += more;
	return sum + (sum < more);
}

static __always_inline __u32 csum_sub(__u32 sum, __u32 less)
{
	return csum_add(sum, ~less);
}

static __always_inline __u32 csum_ip4_pair(__be32 a, __be32 b)
{
	return csum_add(a, b);
}

static __always_inline __u32 csum_ip6(const void *address)
{
	const __u32 *w = address;

	return csum_add(csum_add(w[0], w[1]), csum_add(w[2], w[3]));
}

/* RFC 1624 equation 3 on one 16-bit field: a sum that was wrong stays wrong. */
static __always_inline void csum_field_replace(__sum16 *field, __u32 delta)
{
	__u32 sum = csum_add((__u16) ~*field, delta);

	*field = csum_fold(sum);
}

static __always_inline void ip4_set_check(struct iphdr *ip4)
{
	const __u16 *w = (const __u16 *)ip4;
	__u32 sum = 0;

	ip4->check = 0;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += w[i];
	ip4->check = csum_fold(sum);
}

/* The part of the ICMPv6 pseudo-header (RFC 8200 8.1) that is not addresses. */
static __always_inline __u32 csum_icmp6_pseudo_tail(__u32 length)
{
	return csum_add(bpf_htonl(length), bpf_htonl(IPPROTO_ICMPV6));
}

#define CSUM_CHUNK 32

struct csum_walk {
	struct __sk_buff *skb;
	__u32 offset;
	__u32 end;
	__u32 sum;
	int failed;
};

static long csum_walk_step(__u32 index __attribute__((unused)), struct csum_walk *walk)
{
	__u32 chunk[CSUM_CHUNK / 4] = {};
	__u32 left = walk->end - walk->offset;

	if (walk->offset >= walk->end)
		return 1;
	if (left >= CSUM_CHUNK) {
		if (bpf_skb_load_bytes(walk->skb, walk->offset, chunk, CSUM_CHUNK)) {
			walk->failed = 1;
			return 1;
		}
	} else {
		/* 1 to 31, in words from which the verifier of 6.1 learns that it is not 0. */
		barrier_var(left);
		left = ((left - 1) & (CSUM_CHUNK - 1)) + 1;
		if (bpf_skb_load_bytes(walk->skb, walk->offset, chunk, left)) {
			walk->failed = 1;
			return 1;
		}
	}
	walk->sum = bpf_csum_diff(NULL, 0, chunk, CSUM_CHUNK, walk->sum);
	walk->offset += CSUM_CHUNK;
	return 0;
}

/*
 * Sums [from, to) of the packet; at most 64 KiB. For the slow paths alone: ICMP errors, UDP without a checksum.
 * Negative when bytes could not be read.
 */
GLOBAL long csum_packet(struct __sk_buff *skb, __u32 from, __u32 to)
{
	struct csum_walk walk = { .skb = skb, .offset = from, .end = to };

	bpf_loop(65536 / CSUM_CHUNK, csum_walk_step, &walk, 0);
	return walk.failed ? -1 : (long)walk.sum;
}
