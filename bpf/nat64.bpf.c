/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Entry points of the data plane. What they do stands in the headers, one concern each. */

#include "accel.h"
#include "xlat46.h"
#include "sweep.h"

/* Egress of the owned device: what the node's routes send there, for the prefix or for the pool. */
SEC("tc")
int n64_gate(struct __sk_buff *skb)
{
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IPV6):
		if (split_is_piece(skb))
			return split_piece(skb) ? drop(skb, N64_DROP_REWRITE_FAILED, N64_4TO6) : egress_ip6(skb);
		return xlat64(skb);
	case bpf_htons(ETH_P_IP):
		return xlat46(skb, false);
	}
	return PASS_ON;
}

/* Head of the uplink's ingress, in direct mode: replies, before the host stack or anybody else sees them. */
SEC("tc")
int n64_uplink(struct __sk_buff *skb)
{
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->pkt_type != 0 /* PACKET_HOST */)
		return PASS_ON;
	/* A VLAN is another network: its frames come by again at the interface of its own, if there is one. */
	if (skb->vlan_present)
		return PASS_ON;
	return xlat46(skb, true);
}

/* Ingress of a pod's interface, in direct mode: packets of established sessions. */
SEC("tc")
int n64_accel(struct __sk_buff *skb)
{
	if (!cfg.accelerate || skb->protocol != bpf_htons(ETH_P_IPV6) || skb->pkt_type != 0 /* PACKET_HOST */ ||
	    skb->vlan_present)
		return PASS_ON;
	return accel64(skb);
}

SEC("iter/bpf_map_elem")
int n64_sweep(struct bpf_iter__bpf_map_elem *ctx)
{
	return sweep_session(ctx);
}

SEC("iter/bpf_map_elem")
int n64_reclaim(struct bpf_iter__bpf_map_elem *ctx)
{
	return reclaim_block(ctx);
}

char LICENSE[] SEC("license") = "GPL";
