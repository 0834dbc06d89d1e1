/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * CHECKSUM_PARTIAL: the field has the sum of the pseudo-header alone, and the kernel, or the device, finishes it where
 * skb->csum_start points. A packet that is cut, or quoted in an error of ours, must be none: what is finished later would
 * be a wrong field, or a change behind our own checksum. The kernel tells a program nothing of it and has no helper for it.
 */
#pragma once

#include "csum_packet.h"
#include "maps.h"
#include "parse.h"

/*
 * Makes it CHECKSUM_NONE: the kernel does so when what is taken away reaches over csum_start. What is taken away comes back
 * at once. `header` is the length of the IP header; extension headers of 80 bytes lie within, and TCP's where there are none.
 */
static __noinline int partial_end(struct __sk_buff *skb, __u32 header)
{
	struct n64_making *new = making();
	__u32 length = skb->len;

	if (!new)
		return -1;
	if (bpf_skb_change_tail(skb, length + PARTIAL_MOVED, 0) ||
	    bpf_skb_load_bytes(skb, L3_OFF + header, new->moved, PARTIAL_MOVED) ||
	    bpf_skb_adjust_room(skb, -PARTIAL_MOVED, BPF_ADJ_ROOM_NET, 0) ||
	    bpf_skb_adjust_room(skb, PARTIAL_MOVED, BPF_ADJ_ROOM_NET, 0) ||
	    bpf_skb_store_bytes(skb, L3_OFF + header, new->moved, PARTIAL_MOVED, BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_change_tail(skb, length, 0);
}

/* Finishes the checksum of a whole IPv6 packet whose transport header stands at `l4_off`; a wrong one stays wrong. */
static __noinline int partial_finish(struct __sk_buff *skb, __u32 l4_off, __u8 protocol)
{
	__u32 at = l4_off + (protocol == IPPROTO_UDP ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	__u32 addresses[8], pseudo;
	__sum16 check;
	long sum;

	if (bpf_skb_load_bytes(skb, L3_OFF + offsetof(struct ipv6hdr, saddr), addresses, sizeof(addresses)) ||
	    bpf_skb_load_bytes(skb, at, &check, sizeof(check)))
		return -1;
	pseudo = csum_add(csum_ip6(addresses), csum_ip6(addresses + 4));
	pseudo = csum_add(pseudo, csum_add(bpf_htonl(skb->len - l4_off), bpf_htonl(protocol)));
	if (csum_fold(csum_add(pseudo, (__u16)~check)))
		return 0;
	sum = csum_packet(skb, l4_off, skb->len);
	if (sum < 0)
		return -1;
	if (!csum_fold(csum_add(sum, pseudo)))
		return 0;
	check = csum_fold(sum);
	if (protocol == IPPROTO_UDP && !check)
		check = 0xffff;
	return bpf_skb_store_bytes(skb, at, &check, sizeof(check), BPF_F_RECOMPUTE_CSUM);
}
