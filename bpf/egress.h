/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where a translated packet goes: back into the host stack by the owned device, or out of the uplink. */
#pragma once

#include "common.h"

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

static __always_inline int egress_ip4(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;

	if (!cfg.direct)
		return egress_device(skb, bpf_htons(ETH_P_IP));
	if (data + sizeof(*eth) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	eth->h_proto = bpf_htons(ETH_P_IP);
	/* Next hop and MAC by the node's own FIB; its own IPv4 as a source would be a martian in the host stack. */
	return bpf_redirect_neigh(cfg.uplink_ifindex[0], NULL, 0, 0);
}

static __always_inline int egress_ip6(struct __sk_buff *skb)
{
	return egress_device(skb, bpf_htons(ETH_P_IPV6));
}
