/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From bytes to what translation asks for. Everything is read here, before anything is written. */
#pragma once

#include "common.h"

/* RFC 8200 4: more extension headers than this are taken for an attack. */
#define MAX_EXTENSION_HEADERS 6

struct packet {
	/* From the start of the frame. */
	__u32 l4_off;
	__u32 end;
	/* IP protocol number; ICMP as its own family writes it. */
	__u8 protocol;
	__u8 hop_limit;
	/* As it goes on. */
	__u8 hop_limit_out;
	__u8 traffic_class;
	__u8 tcp_flags;
	/* A Fragment Header is there; offset in units of 8 bytes. */
	__u8 fragmented;
	__u8 more;
	/* 4to6 only. */
	__u8 dont_fragment;
	__u16 frag_off;
	__be32 frag_id;
	/* First 8 bytes of the transport header, in three readings. */
	union {
		struct {
			__be16 sport;
			__be16 dport;
			__be16 udp_len;
			__sum16 udp_check;
		};
		struct {
			__u8 icmp_type;
			__u8 icmp_code;
			__sum16 icmp_check;
			union {
				struct {
					__be16 icmp_id;
					__be16 icmp_seq;
				};
				__be32 icmp_rest;
			};
		};
	};
	/* For SOURCE_ROUTE: where the offending byte stands (RFC 7915 5.1). */
	__u32 pointer;
};

/* The IP header, of which `length` bytes can be read in place; NULL where there are not so many. */
static __always_inline void *ip_header(struct __sk_buff *skb, __u32 length)
{
	void *data = (void *)(long)skb->data;

	if (data + L3_OFF + length > (void *)(long)skb->data_end) {
		if (bpf_skb_pull_data(skb, L3_OFF + length))
			return NULL;
		data = (void *)(long)skb->data;
		if (data + L3_OFF + length > (void *)(long)skb->data_end)
			return NULL;
	}
	return data + L3_OFF;
}

/* What the IPv6 header says; where packets have extension headers parse_extensions() goes on. */
static __always_inline void parse_ip6(struct __sk_buff *skb, const struct ipv6hdr *ip6, struct packet *p)
{
	p->protocol = ip6->nexthdr;
	p->hop_limit = ip6->hop_limit;
	p->traffic_class = ip6_traffic_class(ip6);
	p->l4_off = L3_OFF + IP6_LEN;
	/* BIG TCP: what is cut into segments later may be longer than its header can say, which says 0 then. */
	if (!ip6->payload_len && skb->gso_size)
		p->end = skb->len;
	else
		p->end = L3_OFF + IP6_LEN + bpf_ntohs(ip6->payload_len);
}

/* Protocol index of TCP, UDP and ICMP of either family; negative for all others. */
static __always_inline int protocol_index(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return N64_TCP;
	case IPPROTO_UDP:
		return N64_UDP;
	case IPPROTO_ICMPV6:
	case IPPROTO_ICMP:
		return N64_ICMP;
	}
	return -1;
}

/*
 * RFC 7915 5.1: skips Hop-by-Hop, Destination Options and Routing headers; reads a Fragment Header. The first other value
 * is the protocol. Offsets count from the frame's start, `base` is where the IPv6 header stands.
 */
GLOBAL int parse_extensions(struct __sk_buff *skb, struct packet *p, __u32 base)
{
	__u32 offset = base + IP6_LEN;
	__u8 next, head[8];

	if (!p)
		return N64_DROP_MALFORMED;
	next = p->protocol;
	/* Unrolled: left a loop, clang jumps into it behind its last block, which the verifier of 6.1 refuses as a back-edge. */
#pragma unroll
	for (int i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_FRAGMENT) {
			p->protocol = next;
			p->l4_off = offset;
			return N64_PASS;
		}
		/* RFC 7915 5.1.1: extension headers behind the Fragment Header are refused. */
		if (i == MAX_EXTENSION_HEADERS || p->fragmented)
			return N64_DROP_EXTENSION_HEADERS;
		if (bpf_skb_load_bytes(skb, offset, head, sizeof(head)))
			return N64_DROP_MALFORMED;
		if (next == IPPROTO_FRAGMENT) {
			__u16 off = bpf_ntohs(*(__u16 *)(head + 2));

			p->fragmented = 1;
			p->more = off & 1;
			p->frag_off = off >> 3;
			p->frag_id = *(__u32 *)(head + 4);
			offset += FRAG_LEN;
		} else {
			if (next == IPPROTO_ROUTING && head[3]) {
				p->pointer = offset - base + 3;
				return N64_DROP_SOURCE_ROUTE;
			}
			offset += (head[1] + 1) * 8;
		}
		next = head[0];
	}
	return N64_DROP_EXTENSION_HEADERS;
}

/* `length` bytes, one after the other, of a header that stands at `offset`, which is mostly `usual`: read in place there. */
static __always_inline long load_header(struct __sk_buff *skb, __u32 offset, __u32 usual, void *to, __u32 length)
{
	void *data = (void *)(long)skb->data;
	__u32 at = usual;

	/* A number of its own: clang would take `offset`, which is equal, and of which the verifier of 6.1 knows no bounds. */
	barrier_var(at);
	if (offset != usual || data + at + length > (void *)(long)skb->data_end)
		return bpf_skb_load_bytes(skb, offset, to, length);
	__builtin_memcpy(to, data + at, length);
	return 0;
}

/* Reads the transport header at p->l4_off: 8 bytes, and TCP's flags. Without options or extensions it is at `usual`. */
static __always_inline int parse_transport(struct __sk_buff *skb, struct packet *p, __u32 usual)
{
	if (p->l4_off + 8 > p->end || load_header(skb, p->l4_off, usual, &p->sport, 8))
		return p->fragmented ? N64_DROP_FRAGMENT_TINY : N64_DROP_MALFORMED;
	if (p->protocol == IPPROTO_TCP) {
		/* The whole header must be in the first fragment, or a later one could rewrite its flags (RFC 3128). */
		if (p->l4_off + sizeof(struct tcphdr) > p->end ||
		    load_header(skb, p->l4_off + 13, usual + 13, &p->tcp_flags, 1))
			return p->fragmented ? N64_DROP_FRAGMENT_TINY : N64_DROP_MALFORMED;
	}
	/* RFC 768: a length that reaches beyond the packet, or not over its own header. GSO packets carry what they like. */
	if (p->protocol == IPPROTO_UDP && !skb->gso_size) {
		__u32 length = bpf_ntohs(p->udp_len);

		if (length < sizeof(struct udphdr) || (!p->fragmented && p->l4_off + length > p->end))
			return N64_DROP_MALFORMED;
	}
	return N64_PASS;
}

/* Largest datagram on the wire that the packet becomes: the packet, or one segment of it; without its IP header. */
static __always_inline __u32 segment_payload(struct __sk_buff *skb, struct packet *p)
{
	__u32 payload = p->end - p->l4_off;
	__u8 offset = 0x50;

	if (!skb->gso_size)
		return payload;
	if (p->protocol == IPPROTO_TCP) {
		bpf_skb_load_bytes(skb, p->l4_off + 12, &offset, 1);
		return skb->gso_size + (offset >> 4) * 4;
	}
	return skb->gso_size + sizeof(struct udphdr);
}

/* Drops an Ethernet trailer: RFC 7915 counts by the header's length, not the frame's. */
static __always_inline int trim_trailer(struct __sk_buff *skb, struct packet *p)
{
	if (skb->len == p->end || skb->gso_size)
		return 0;
	return bpf_skb_change_tail(skb, p->end, 0);
}

/*
 * RFC 7915 4.1: an unexpired source route (pointer within the option) is refused. Options are 40 bytes at most; each turn
 * takes one.
 */
GLOBAL int parse_ip4_options(struct __sk_buff *skb, __u32 offset, __u32 end)
{
	for (int i = 0; i < 40; i++) {
		__u8 head[3] = {};

		if (offset >= end || bpf_skb_load_bytes(skb, offset, head, 1) || head[0] == 0)
			return N64_PASS;
		if (head[0] == 1) {
			offset++;
			continue;
		}
		if (offset + 3 > end || bpf_skb_load_bytes(skb, offset, head, 3) || head[1] < 2)
			return N64_PASS;
		if ((head[0] == 131 || head[0] == 137) && head[2] <= head[1])
			return N64_DROP_SOURCE_ROUTE;
		offset += head[1];
	}
	return N64_PASS;
}
