/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Token buckets: so many a second in all, and fewer for each of many senders or receivers. */
#pragma once

#include "maps.h"

/* Two processors may both take the last token. */
static __always_inline bool rate_take(struct n64_rate *rate, __u32 per_second)
{
	__u64 now = now_ns(), gained;

	if (!ns_after(now, rate->last_ns, 0))
		now = rate->last_ns;
	gained = (now - rate->last_ns) / (NSEC_PER_SEC / per_second);
	if (gained) {
		rate->last_ns = now;
		gained += rate->tokens;
		rate->tokens = gained < per_second ? gained : per_second;
	}
	if (!rate->tokens)
		return false;
	rate->tokens--;
	return true;
}

/* Whether rate_take() would get one. */
static __always_inline bool rate_has(const struct n64_rate *rate, __u32 per_second)
{
	return rate->tokens || ns_after(now_ns(), rate->last_ns, NSEC_PER_SEC / per_second);
}

/* Which of the buckets below a kind is an address's. */
static __always_inline __u32 rate_source(const void *address, __u32 words)
{
	return hash_words(address, words) >> (32 - N64_RATE_BITS);
}
