/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The MSS option of TCP (RFC 9293 3.7.1), made no larger than what fits on both sides: a segment is 20 octets longer as IPv6.
 * What a pod announces limits what becomes IPv6 here, what a server announces limits what was: the same bound either way.
 */
#pragma once

#include "csum.h"
#include "parse.h"

/* RFC 9293 3.7.1: what an end takes that says nothing. */
#define MSS_LEAST 536
#define MSS_OPTION 2
#define MSS_OPTION_LEN 4

struct mss_path {
	__u8 pod[16];
	/* T and Z */
	__be32 pool;
	__be32 server;
};

/*
 * The MTU of a route, as forwarding has it: its own where that is locked, else the interface's; asked with a length that
 * nothing fits, since the kernel then answers before it looks for a neighbour.
 */
static __always_inline __u32 mss_route_mtu(struct __sk_buff *skb, struct bpf_fib_lookup *fib, __u32 otherwise)
{
	fib->ifindex = cfg.device_ifindex;
	fib->tot_len = 65535;
	if (bpf_fib_lookup(skb, fib, sizeof(*fib), 0) != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return otherwise;
	return fib->mtu_result;
}

static __always_inline __u32 mss_auto(struct __sk_buff *skb, const struct mss_path *path)
{
	struct bpf_fib_lookup six = { .family = WAY_INET6 };
	struct bpf_fib_lookup four = {
		.family = WAY_INET,
		.ipv4_src = path->pool,
		.ipv4_dst = path->server,
	};
	__u32 mtu6, mtu4, six_fits, four_fits;

	config_copy16(six.ipv6_src, cfg.node6);
	copy16(six.ipv6_dst, path->pod);
	mtu6 = min_u32(mss_route_mtu(skb, &six, cfg.device_mtu), cfg.device_mtu);
	mtu4 = mss_route_mtu(skb, &four, cfg.uplink_mtu ? cfg.uplink_mtu : 65535);
	six_fits = mtu6 - min_u32(mtu6, IP6_LEN + sizeof(struct tcphdr));
	four_fits = mtu4 - min_u32(mtu4, IP4_LEN + sizeof(struct tcphdr));
	return max_u32(MSS_LEAST, min_u32(six_fits, four_fits));
}

/*
 * Of a SYN, with ACK or without, as it came. Options that are not what they should be stay as they are, and all behind
 * them. The field is none of what CHECKSUM_PARTIAL has summed already, so one update does for both kinds of packet.
 */
GLOBAL int mss_clamp(struct __sk_buff *skb, const struct packet *p, const struct mss_path *path)
{
	__u32 limit, start, at, end;
	__u8 offset;

	if (!p || !path)
		return -1;
	start = p->l4_off;
	at = start + sizeof(struct tcphdr);
	if (bpf_skb_load_bytes(skb, start + 12, &offset, 1))
		return -1;
	end = start + (offset >> 4) * 4;
	if (end > p->end)
		return 0;
	limit = cfg.mss_clamp == N64_MSS_AUTO ? mss_auto(skb, path) : cfg.mss_clamp;
	for (int i = 0; i < 40; i++) {
		__u8 head[2] = {};
		__be16 mss, lower;

		if (at >= end || bpf_skb_load_bytes(skb, at, head, 1) || head[0] == 0)
			return 0;
		if (head[0] == 1) {
			at++;
			continue;
		}
		if (at + 2 > end || bpf_skb_load_bytes(skb, at, head, 2) || head[1] < 2 || at + head[1] > end)
			return 0;
		if (head[0] == MSS_OPTION && head[1] == MSS_OPTION_LEN) {
			if (bpf_skb_load_bytes(skb, at + 2, &mss, 2))
				return -1;
			if (bpf_ntohs(mss) > limit) {
				lower = bpf_htons((__u16)limit);
				if (bpf_l4_csum_replace(skb, start + offsetof(struct tcphdr, check),
							csum_place(mss, at - start), csum_place(lower, at - start),
							2) ||
				    bpf_skb_store_bytes(skb, at + 2, &lower, 2, 0))
					return -1;
			}
		}
		at += head[1];
	}
	return 0;
}
