/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* RFC 6052 2.2, 2.3: IPv4 addresses inside IPv6 addresses, for all six prefix lengths. */
#pragma once

#include "config.h"
#include "csum.h"

/* Whether `address` lies under the prefix. Lengths are whole bytes, 4 to 12. */
static __always_inline bool prefix_holds(const volatile struct n64_prefix *prefix, const void *address)
{
	const volatile __u32 *p = (const volatile __u32 *)prefix->address;
	const __u32 *a = address;

	if (p[0] != a[0])
		return false;
	switch (prefix->length) {
	case 96:
		return p[1] == a[1] && p[2] == a[2];
	case 64:
		return p[1] == a[1];
	case 56:
		return !((p[1] ^ a[1]) & bpf_htonl(0xffffff00));
	case 48:
		return !((p[1] ^ a[1]) & bpf_htonl(0xffff0000));
	case 40:
		return !((p[1] ^ a[1]) & bpf_htonl(0xff000000));
	case 32:
		return true;
	default:
		return false;
	}
}

/* A place whose prefix has gone has the length 0, so that the others keep theirs. */
static __always_inline bool prefix_is_there(__u32 index)
{
	return cfg.prefixes[index & (N64_MAX_PREFIXES - 1)].length;
}

/* False when the u octet (bits 64 to 71) is not zero: no valid embedded address. Suffix bits are ignored (2.2). */
static __always_inline bool rfc6052_extract(__u32 length, const __u8 *a, __be32 *v4)
{
	__u8 *out = (__u8 *)v4;

	if (length == 96) {
		*v4 = ((const __u32 *)a)[3];
		return true;
	}
	if (a[8])
		return false;
	switch (length) {
	case 64:
		out[0] = a[9], out[1] = a[10], out[2] = a[11], out[3] = a[12];
		break;
	case 56:
		out[0] = a[7], out[1] = a[9], out[2] = a[10], out[3] = a[11];
		break;
	case 48:
		out[0] = a[6], out[1] = a[7], out[2] = a[9], out[3] = a[10];
		break;
	case 40:
		out[0] = a[5], out[1] = a[6], out[2] = a[7], out[3] = a[9];
		break;
	default:
		*v4 = ((const __u32 *)a)[1];
		break;
	}
	return true;
}

static __always_inline void rfc6052_compose(const volatile struct n64_prefix *prefix, __be32 v4, __u8 *a)
{
	const __u8 *in = (const __u8 *)&v4;
	const volatile __u32 *p = (const volatile __u32 *)prefix->address;
	__u32 *w = (__u32 *)a;

	w[0] = p[0];
	w[1] = p[1];
	w[2] = p[2];
	w[3] = p[3];
	switch (prefix->length) {
	case 96:
		w[3] = v4;
		break;
	case 64:
		a[9] = in[0], a[10] = in[1], a[11] = in[2], a[12] = in[3];
		break;
	case 56:
		a[7] = in[0], a[9] = in[1], a[10] = in[2], a[11] = in[3];
		break;
	case 48:
		a[6] = in[0], a[7] = in[1], a[9] = in[2], a[10] = in[3];
		break;
	case 40:
		a[5] = in[0], a[6] = in[1], a[7] = in[2], a[9] = in[3];
		break;
	default:
		w[1] = v4;
		break;
	}
}

/*
 * Checksum of the bits behind the embedded address, which are ignored (2.2) but were summed by the sender. They begin at
 * byte 9 for /32 and a byte later for each step to /64.
 */
static __always_inline __u32 rfc6052_suffix_sum(__u32 length, const __u8 *address)
{
	__u64 low = *(const __u64 *)(address + 8);

	if (length == 96)
		return 0;
	low &= ~0ull << (8 + length - 32);
	return csum_add((__u32)low, low >> 32);
}

/* Index of the configured prefix that holds the address, or -1. */
static __always_inline int prefix_find(const void *address)
{
	for (int i = 0; i < N64_MAX_PREFIXES; i++) {
		if ((__u32)i >= cfg.prefix_count)
			break;
		if (prefix_holds(&cfg.prefixes[i], address))
			return i;
	}
	return -1;
}

/* The two that have a path for each prefix, for where speed is of no account: the verifier walks them once. */
GLOBAL int prefix_of(const struct in6_addr *address)
{
	return address ? prefix_find(address) : -1;
}

GLOBAL int address_under(__u32 prefix, __be32 v4, struct in6_addr *address)
{
	if (address)
		rfc6052_compose(&cfg.prefixes[prefix & (N64_MAX_PREFIXES - 1)], v4, (__u8 *)address);
	return 0;
}

/* The first one that is configured. */
static __always_inline __u32 prefix_first(void)
{
#pragma unroll
	for (int i = 0; i < N64_MAX_PREFIXES; i++) {
		if (prefix_is_there(i))
			return i;
	}
	return 0;
}
