/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * RFC 7915 4.1: an IPv4 packet without DF that would become larger than lowest-ipv6-mtu becomes IPv6 fragments. The whole
 * packet is translated with a Fragment Header; a copy for each piece but the last is sent to our own device and cut there,
 * the packet itself is cut to the last one:
 *
 * [eth][ip6][frag off=b M=m][payload]  →  [eth][ip6][frag off=b+0 M=1][1232] [eth][ip6][frag off=b+154 M=m][rest] …
 */
#pragma once

#include "egress.h"
#include "partial.h"
#include "rfc6052.h"

/* In skb->mark of a copy, above the piece's number. Marks never leave the node, and the piece has none. */
#define SPLIT_MARK 0x6e360000u
#define SPLIT_MARK_MASK 0xffff0000u
/* A jumbo frame of 9000 bytes is eight pieces. */
#define SPLIT_MAX_PIECES 16
/* What one call of bpf_skb_adjust_room may take away. */
#define ADJUST_MAX 4080

struct fragment_header {
	__u8 next, zero;
	__be16 offset;
	__be32 id;
};

/* Bytes of payload in each piece but the last. */
static __always_inline __u32 split_chunk(void)
{
	return (cfg.lowest_ipv6_mtu - IP6_LEN - FRAG_LEN) & ~7u;
}

/* A packet of one segment that may be fragmented (DF=0), and must. */
static __always_inline bool split_wanted(struct __sk_buff *skb, struct packet *p)
{
	__u32 header = p->fragmented ? IP6_LEN + FRAG_LEN : IP6_LEN;

	return !p->dont_fragment && !skb->gso_size && header + p->end - p->l4_off > cfg.lowest_ipv6_mtu;
}

static __always_inline bool split_possible(struct packet *p)
{
	return p->end - p->l4_off <= SPLIT_MAX_PIECES * split_chunk();
}

/*
 * Sends a copy for each piece but the last, which the packet itself is marked to become: a packet that ended here would
 * count as lost to a host stack that sends fragments in turn, and it would send no more of them. `whole` is its protocol, 0
 * if it came as a fragment.
 */
GLOBAL int split_send(struct __sk_buff *skb, __u32 payload, __u8 whole)
{
	__be16 protocol = bpf_htons(ETH_P_IPV6);
	__u32 chunk = split_chunk(), i;

	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &protocol, sizeof(protocol), 0))
		return -1;
	if ((whole && partial_finish(skb, L3_OFF + IP6_LEN + FRAG_LEN, whole)) || partial_end(skb, IP6_LEN))
		return -1;
	for (i = 0; i < SPLIT_MAX_PIECES - 1; i++) {
		skb->mark = SPLIT_MARK | i;
		if ((i + 1) * chunk >= payload)
			return 0;
		if (bpf_clone_redirect(skb, cfg.device_ifindex, 0))
			return -1;
	}
	skb->mark = SPLIT_MARK | i;
	return 0;
}

/* A mark can be anybody's (a CNI writes a pod's identity there), but only ours come from under the prefix, in fragments. */
GLOBAL bool split_is_piece(struct __sk_buff *skb)
{
	struct ipv6hdr ip6;

	if ((skb->mark & SPLIT_MARK_MASK) != SPLIT_MARK || (skb->mark & ~SPLIT_MARK_MASK) >= SPLIT_MAX_PIECES)
		return false;
	return !bpf_skb_load_bytes(skb, L3_OFF, &ip6, sizeof(ip6)) && ip6.nexthdr == IPPROTO_FRAGMENT &&
	       prefix_of(&ip6.saddr) >= 0;
}

/* Cuts one copy to its piece. */
GLOBAL int split_piece(struct __sk_buff *skb)
{
	__u32 piece = skb->mark & ~SPLIT_MARK_MASK, chunk = split_chunk(), start, payload, size;
	struct fragment_header frag;
	struct ipv6hdr ip6;
	__u16 offset;

	if (bpf_skb_load_bytes(skb, L3_OFF, &ip6, sizeof(ip6)) ||
	    bpf_skb_load_bytes(skb, L3_OFF + IP6_LEN, &frag, sizeof(frag)) || piece >= SPLIT_MAX_PIECES)
		return -1;
	payload = bpf_ntohs(ip6.payload_len) - FRAG_LEN;
	start = piece * chunk;
	if (start >= payload)
		return -1;
	size = payload - start;
	offset = bpf_ntohs(frag.offset);
	if (size > chunk) {
		size = chunk;
		offset |= 1;
	}
	/* RFC 7915 4.1: offsets add up, M stays but on the last piece of the last fragment. Both count in units of 8. */
	frag.offset = bpf_htons(offset + start);
	ip6.payload_len = bpf_htons(FRAG_LEN + size);
	/* What goes is the Fragment Header and all of the payload before the piece, but for room for the header again. */
	for (int i = 0; i < SPLIT_MAX_PIECES * 1232 / ADJUST_MAX + 2 && start; i++) {
		__u32 part = start < ADJUST_MAX ? start : ADJUST_MAX;

		if (bpf_skb_adjust_room(skb, -(int)part, BPF_ADJ_ROOM_NET, 0))
			return -1;
		start -= part;
	}
	if (bpf_skb_change_tail(skb, L3_OFF + IP6_LEN + FRAG_LEN + size, 0) ||
	    bpf_skb_store_bytes(skb, L3_OFF + IP6_LEN, &frag, sizeof(frag), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, L3_OFF, &ip6, sizeof(ip6), BPF_F_RECOMPUTE_CSUM))
		return -1;
	skb->mark = 0;
	return 0;
}
