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

/* A word as it counts at an offset: at an odd one its octets lie in two words, the other way round (RFC 1071 2 B). */
static __always_inline __u16 csum_place(__u16 word, __u32 offset)
{
	return offset & 1 ? (__u16)(word << 8 | word >> 8) : word;
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
