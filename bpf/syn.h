/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * TCP connections from the IPv4 side that nobody asked for (RFC 6146 3.5.2.2, V4 INIT with a stored SYN). Nothing of the SYN
 * goes on, so that it is a drop. User space gets it by the way that fragments take (held.h) and waits for the pod to open
 * the same connection. It sends the SYN again, marked, where none has: then its sender hears that the port is unreachable.
 */
#pragma once

#include "held.h"
#include "icmp.h"
#include "tcp.h"

#define SYNS_PER_SECOND 200
#define SYNS_PER_SENDER 20

static __always_inline bool syn_is_unasked(const struct n64_flow4_key *key, const struct packet *p, int reason)
{
	return key->protocol == N64_TCP && !p->more && tcp_opens(p->tcp_flags) &&
	       (reason == N64_DROP_NO_BINDING || reason == N64_DROP_TCP_EXTERNAL_SYN);
}

static __noinline bool syn_may_wait(__u32 source, bool take)
{
	__u32 all = N64_RATE_SOURCES, below = source & (N64_RATE_SOURCES - 1);
	struct n64_rate *sender = bpf_map_lookup_elem(&n64_rate_syn, &below);
	struct n64_rate *sum = bpf_map_lookup_elem(&n64_rate_syn, &all);

	if (!sender || !sum)
		return false;
	if (!take)
		return rate_has(sender, SYNS_PER_SENDER) && rate_has(sum, SYNS_PER_SECOND);
	return rate_take(sender, SYNS_PER_SENDER) && rate_take(sum, SYNS_PER_SECOND);
}

/* `src`: who sent it. */
GLOBAL int syn_unasked(struct __sk_buff *skb, __be32 src, __u32 reason)
{
	struct icmp_answer answer = { .type = ICMP_DEST_UNREACH, .code = ICMP_PORT_UNREACH };
	bool here = skb->ifindex == cfg.device_ifindex;
	__u32 source = rate_source(&src, 1);

	/* It was counted when it came. */
	if (here && skb->mark == N64_SYN_MARK) {
		skb->mark = 0;
		return rate_allows(0, reason, source) ? icmp4_send(skb, &answer) : TC_ACT_SHOT;
	}
	if (ip4_source_illegal(src) || !syn_may_wait(source, here))
		return drop(skb, reason, N64_4TO6);
	/* From an uplink all come by the device, where they are counted once. */
	if (!here)
		return bpf_redirect(cfg.device_ifindex, 0);
	drop(skb, reason, N64_4TO6);
	return bpf_skb_store_bytes(skb, 0, (const void *)cfg.device_mac, ETH_ALEN, 0) ? TC_ACT_SHOT : TC_ACT_OK;
}
