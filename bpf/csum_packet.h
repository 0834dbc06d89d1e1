/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The Internet checksum of what lies in a packet. */
#pragma once

#include "csum.h"

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
