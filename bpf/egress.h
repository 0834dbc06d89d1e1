/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where a translated packet goes: back into the host stack by the owned device, or out of the uplink. */
#pragma once

#include "maps.h"

/*
 * Into the host stack, as if the owned device had received it. The destination MAC must be the device's, or the stack
 * takes the packet for somebody else's.
 */
static __always_inline int egress_device(struct __sk_buff *skb, __be16 protocol)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;

	if (data + sizeof(*eth) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	for (int i = 0; i < ETH_ALEN; i++)
		eth->h_dest[i] = cfg.device_mac[i];
	eth->h_proto = protocol;
	return bpf_redirect(cfg.device_ifindex, BPF_F_INGRESS);
}

/* RFC 6146 3.8: to the other side of the translator, as what comes from outside. */
static __always_inline int egress_back(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;

	if (data + sizeof(*eth) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	eth->h_proto = bpf_htons(ETH_P_IP);
	return bpf_redirect(cfg.device_ifindex, 0);
}

/* ---- direct mode ---- */

/* Where a packet leaves. */
struct way {
	__u32 ifindex;
	/* Family 0: the kernel finds the next hop. */
	struct bpf_redir_neigh next;
	/* Of the route, where the packet is larger. */
	__u32 mtu;
};

/* The kernel asks for a neighbour three times, a second apart. */
#define SILENT_NS (3 * NSEC_PER_SEC)
#define SILENT_FORGET_NS (10 * NSEC_PER_SEC)

/*
 * Whether a next hop that has no address of its link has been asked for in vain: then its packets are refused, but for one
 * a second, with which the kernel asks again. Next hops that share a place share its patience.
 */
static __noinline bool way_is_silent(const struct way *way)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 place = hash_words(&way->next.ipv6_nh, way->next.nh_family == WAY_INET ? 1 : 4) >> 24;
	struct n64_silence *silence = bpf_map_lookup_elem(&n64_silences, &place);

	if (!silence)
		return false;
	if (ns_since(now, silence->last_ns) > (__s64)SILENT_FORGET_NS)
		silence->first_ns = now;
	silence->last_ns = now;
	if (ns_since(now, silence->first_ns) < (__s64)SILENT_NS)
		return false;
	if (ns_since(now, silence->asked_ns) < (__s64)NSEC_PER_SEC)
		return true;
	silence->asked_ns = now;
	return false;
}

/*
 * The node's own routes say where a packet of `length` bytes from T to Z leaves, its rules and several next hops heard:
 * N64_PASS, or why it does not. They are asked for each packet, so that whatever changes holds at once; the next hop
 * spares the kernel a look of its own. A length of 0 fits everywhere.
 */
GLOBAL int way_find(struct __sk_buff *skb, struct way *way, __be32 src, __be32 dst, __u32 length)
{
	struct bpf_fib_lookup fib = {
		.family = WAY_INET,
		.ifindex = cfg.device_ifindex,
		.ipv4_src = src,
		.ipv4_dst = dst,
		.tot_len = length ? min_u32(length, 65535) : 1,
	};
	long result;

	if (!way)
		return N64_DROP_NO_ROUTE;
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		way->ifindex = fib.ifindex;
		way->next.nh_family = fib.family;
		if (fib.family == WAY_INET)
			way->next.ipv4_nh = fib.ipv4_dst;
		else
			copy16(way->next.ipv6_nh, fib.ipv6_dst);
		if (result == BPF_FIB_LKUP_RET_NO_NEIGH && way_is_silent(way))
			return N64_DROP_NO_NEIGHBOUR;
		return N64_PASS;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		way->mtu = fib.mtu_result;
		return N64_DROP_TOO_BIG;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		/* By the uplink, as its own route there says. */
		way->ifindex = cfg.uplink_ifindex[0];
		way->mtu = cfg.uplink_mtu;
		return length > cfg.uplink_mtu ? N64_DROP_TOO_BIG : N64_PASS;
	}
	return N64_DROP_NO_ROUTE;
}

/* N64_PASS with nothing to say by masquerade: the host stack finds the way. */
static __always_inline int way_ip4(struct __sk_buff *skb, struct way *way, __be32 src, __be32 dst, __u32 length)
{
	return cfg.direct ? way_find(skb, way, src, dst, length) : N64_PASS;
}

static __always_inline int egress_ip4(struct __sk_buff *skb, struct way *way)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;

	if (!cfg.direct)
		return egress_device(skb, bpf_htons(ETH_P_IP));
	if (data + sizeof(*eth) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	eth->h_proto = bpf_htons(ETH_P_IP);
	/* The node's own IPv4 as a source would be a martian in the host stack. */
	if (!way->next.nh_family)
		return bpf_redirect_neigh(way->ifindex, NULL, 0, 0);
	return bpf_redirect_neigh(way->ifindex, &way->next, sizeof(way->next), 0);
}

static __always_inline int egress_ip6(struct __sk_buff *skb)
{
	return egress_device(skb, bpf_htons(ETH_P_IPV6));
}
