/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where pods are whose packets the accelerator takes: learned from those packets, so that answers go straight to the
 * device. What is learned holds for seconds and is no more than a shorter way: without it the node's routes find the pod.
 */
#pragma once

#include "policy.h"
#include "egress.h"

/* How often the node's routes are asked whether a pod is still where it was. */
#define POD_WAY_BELIEVED_NS NSEC_PER_SEC
/* For how long answers go there without a packet from the pod. */
#define POD_WAY_USED_NS (5 * NSEC_PER_SEC)

static __always_inline void count_accelerated(__u32 direction, __u32 packets, __u32 bytes)
{
	struct n64_counter *counter = bpf_map_lookup_elem(&n64_accelerated, &direction);

	if (!counter)
		return;
	counter->packets += packets;
	counter->bytes += bytes;
}

/*
 * Whether the route back to the source leads to the interface that the packet came in by, whatever nat64.checkSources says:
 * answers will go there. A second long what the routes said is believed.
 */
GLOBAL bool pod_way_learn(struct __sk_buff *skb, const struct n64_flow6_key *of)
{
	struct bpf_fib_lookup fib = { .family = WAY_INET6, .ifindex = cfg.device_ifindex, .tot_len = 1 };
	struct n64_pod_way *known, fresh = {};
	__u64 now = now_ns();
	__u8 source[16], mac[2 * ETH_ALEN];
	long result;

	if (!of)
		return false;
	copy16(source, of->src);
	known = bpf_map_lookup_elem(&n64_pod_ways, source);
	if (known && known->ifindex == skb->ifindex && !ns_after(now, known->seen_ns, POD_WAY_BELIEVED_NS))
		return true;
	copy16(fib.ipv6_dst, source);
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if ((result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH) || fib.ifindex != skb->ifindex)
		return false;
	if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)))
		return false;
	fresh.seen_ns = now;
	fresh.ifindex = skb->ifindex;
	__builtin_memcpy(fresh.device_mac, mac, ETH_ALEN);
	__builtin_memcpy(fresh.pod_mac, mac + ETH_ALEN, ETH_ALEN);
	/* Whole, so that nobody reads the device of one and the address of another. */
	bpf_map_update_elem(&n64_pod_ways, source, &fresh, BPF_ANY);
	return true;
}

/*
 * The index of the interface where an answer goes, its addresses kept for egress_pod(); 0: as the node's routes say.
 * `length` is of the IPv6 packet, or of a segment of it.
 */
GLOBAL int pod_way_find(struct __sk_buff *skb, const struct n64_flow4 *flow, __u32 length)
{
	struct n64_making *new = making();
	struct n64_pod_way *known;
	__u32 mtu = length;
	__u8 pod[16];

	if (!flow || !new)
		return 0;
	copy16(pod, flow->src);
	known = bpf_map_lookup_elem(&n64_pod_ways, pod);
	if (!known || ns_after(now_ns(), known->seen_ns, POD_WAY_USED_NS))
		return 0;
	/* A device that has gone fails here, too. What is too large for it the node's stack answers. */
	if (bpf_check_mtu(skb, known->ifindex, &mtu, 0, 0) < 0 || length > mtu)
		return 0;
	new->pod_way = *known;
	return new->pod_way.ifindex;
}

/* To the pod's device, as the node's forwarding would send it. */
static __always_inline int egress_pod(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct n64_making *new = making();
	struct ethhdr *eth = data;

	if (!new || data + sizeof(*eth) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	__builtin_memcpy(eth->h_dest, new->pod_way.pod_mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, new->pod_way.device_mac, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IPV6);
	return bpf_redirect(new->pod_way.ifindex, 0);
}
