/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Fragments that cannot be translated one by one: a later one that came before its first, and those whose checksum takes the
 * whole datagram (ICMP, whose pseudo-header has its length; IPv4 UDP without checksum). They leave the device by its other
 * end, where user space puts them in order and sends them to the device again, with n64_hold telling what is missing:
 *
 * gate64's egress ─► gate64x ─► user space ─► gate64's egress, marked
 *
 * The host stack takes none of them: their destination MAC is not that of the other end.
 */
#pragma once

#include "egress.h"
#include "events.h"
#include "frag.h"
#include "rate.h"

#define HANDED_PER_SECOND 5000
#define HANDED_PER_SENDER 500

static __noinline bool hand_over_allowed(__u32 source, __u32 direction)
{
	__u32 kind = N64_RATE_HANDED + direction;
	__u32 below = kind * N64_RATE_SOURCES + source;
	struct n64_rate *rate = bpf_map_lookup_elem(&n64_rate_source, &below);

	if (!rate || !rate_take(rate, HANDED_PER_SENDER))
		return false;
	rate = bpf_map_lookup_elem(&n64_rate, &kind);
	return rate && rate_take(rate, HANDED_PER_SECOND);
}

/* `reason` is what is counted when it goes no further; N64_PASS: it may be the node's, nothing is. */
GLOBAL int hand_over(struct __sk_buff *skb, __u32 source, __u32 direction, __u32 reason)
{
	/* From an uplink all come by the device, where they are counted once. */
	if (skb->ifindex != cfg.device_ifindex)
		return bpf_redirect(cfg.device_ifindex, 0);
	if (skb->mark != N64_HELD_MARK && hand_over_allowed(source, direction)) {
		if (!bpf_skb_store_bytes(skb, 0, (const void *)cfg.device_mac, ETH_ALEN, 0))
			return TC_ACT_OK;
	}
	return reason ? drop(skb, reason, direction) : TC_ACT_SHOT;
}

/* What comes from user space goes on as any other. */
static __always_inline void held_end(struct __sk_buff *skb)
{
	if (skb->mark == N64_HELD_MARK)
		skb->mark = 0;
}

/* Of a first fragment: what user space knows of its datagram. */
static __noinline struct n64_hold *held_find(struct n64_making *new)
{
	struct n64_hold *hold;

	if (!new)
		return NULL;
	hold = bpf_map_lookup_elem(&n64_hold, &new->frag_key);
	return hold && ns_since(hold->expires_ns, now_ns()) > 0 ? hold : NULL;
}
