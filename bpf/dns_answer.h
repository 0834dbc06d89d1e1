/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A question becomes its answer in place: ID and question stay as asked, octets follow that user space has rendered. */
#pragma once

#include "csum.h"
#include "dns_question.h"

#define DNS_AA 0x0400
/* What Linux gives what it sends (RFC 1122 3.2.1.7, RFC 8200 3). */
#define DNS_HOP_LIMIT 64

/* TTLs count down (RFC 1035 3.2.1) in a copy of the answer. */
static __always_inline bool dns_copy_tail(struct dns_scratch *scratch, const struct n64_dns_answer *answer, __u32 age)
{
	if (bpf_probe_read_kernel(scratch->tail, sizeof(scratch->tail), answer->tail))
		return false;
	for (__u32 i = 0; i < N64_DNS_MAX_TTLS; i++) {
		__u32 ttl, at;

		if (i >= answer->ttl_count)
			break;
		ttl = answer->ttl[i];
		ttl = ttl > age ? ttl - age : 0;
		at = answer->ttl_at[i];
		if (at > N64_DNS_TAIL_OCTETS - 4)
			return false;
		scratch->tail[at] = ttl >> 24;
		scratch->tail[at + 1] = ttl >> 16;
		scratch->tail[at + 2] = ttl >> 8;
		scratch->tail[at + 3] = ttl;
	}
	return true;
}

static __always_inline __u32 csum_at(__u32 offset, __u32 sum)
{
	return csum_place(~csum_fold(sum), offset);
}

/* What the UDP checksum changes by, without the pseudo-header. */
static __always_inline __u32 dns_csum_delta(const struct dns_asked *asked, const struct dns_header *header,
					    struct dns_scratch *scratch, __be16 length)
{
	__u32 offset = asked->question_end - asked->udp_off;
	__u32 before[3] = {}, sum;

	sum = bpf_csum_diff((__be32 *)&asked->header, sizeof(*header), (__be32 *)header, sizeof(*header), 0);
	sum = csum_add(sum, csum_at(offset, bpf_csum_diff(NULL, 0, (__be32 *)scratch->tail, sizeof(scratch->tail), 0)));
	if (asked->has_opt) {
		__builtin_memcpy(before, &asked->opt, DNS_OPT);
		sum = csum_sub(sum, csum_at(offset, bpf_csum_diff(NULL, 0, (__be32 *)before, sizeof(before), 0)));
	}
	return csum_add(sum, csum_sub(length, bpf_htons(asked->end - asked->udp_off)));
}

/* Back to where it came from; 0, or not. */
static __always_inline int dns_turn_round(struct __sk_buff *skb, const struct dns_asked *asked, __be16 udp_length)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	__u8 mac[ETH_ALEN];
	struct udphdr *udp;
	__be16 port;

	if (asked->udp_off == L3_OFF + IP4_LEN) {
		struct iphdr *ip4 = data + L3_OFF;
		__be32 client;

		udp = (void *)(ip4 + 1);
		if ((void *)(udp + 1) > data_end)
			return -1;
		client = ip4->saddr;
		ip4->saddr = ip4->daddr;
		ip4->daddr = client;
		ip4->tot_len = bpf_htons(IP4_LEN + bpf_ntohs(udp_length));
		ip4->tos = 0;
		/* RFC 6864 4.1: never in fragments. */
		ip4->id = 0;
		ip4->frag_off = bpf_htons(0x4000);
		ip4->ttl = DNS_HOP_LIMIT;
		ip4_set_check(ip4);
	} else {
		struct ipv6hdr *ip6 = data + L3_OFF;

		udp = (void *)(ip6 + 1);
		if ((void *)(udp + 1) > data_end)
			return -1;
		copy16(&ip6->saddr, asked->told.asked);
		copy16(&ip6->daddr, asked->told.client);
		ip6_set_start(ip6, 0);
		ip6->payload_len = udp_length;
		ip6->hop_limit = DNS_HOP_LIMIT;
	}
	port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	udp->len = udp_length;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return 0;
}

/* Of `tail_octets` behind the question. From its first change on a failure drops: the client asks again. */
static __always_inline int dns_answer(struct __sk_buff *skb, struct dns_asked *asked, struct dns_scratch *scratch,
				      const struct n64_dns_answer *answer, __u32 age)
{
	__u32 tail = answer->tail_octets;
	__u32 end = asked->question_end + tail;
	__u32 check = asked->udp_off + offsetof(struct udphdr, check);
	__be16 length = bpf_htons(end - asked->udp_off);
	struct dns_header header = {
		.id = asked->header.id,
		/* RFC 1035 4.1.1: what comes out of a cache is nobody's authority. */
		.flags = age ? answer->flags_be & ~bpf_htons(DNS_AA) : answer->flags_be,
		.questions = bpf_htons(1),
		.answers = answer->answers_be,
		.authorities = answer->authorities_be,
		.additionals = answer->additionals_be,
	};
	__u32 delta = dns_csum_delta(asked, &header, scratch, length);

	barrier_var(tail);
	if (tail > N64_DNS_TAIL_OCTETS || bpf_skb_change_tail(skb, end, 0))
		return TC_ACT_SHOT;
	barrier_var(tail);
	if (bpf_skb_store_bytes(skb, asked->udp_off + sizeof(struct udphdr), &header, sizeof(header), 0) ||
	    (tail && bpf_skb_store_bytes(skb, asked->question_end, scratch->tail,
					 ((tail - 1) & (N64_DNS_TAIL_OCTETS - 1)) + 1, 0)))
		return TC_ACT_SHOT;
	/* Two updates, as CHECKSUM_PARTIAL has the pseudo-header alone in its field. */
	if (bpf_l4_csum_replace(skb, check, 0, delta, BPF_F_MARK_MANGLED_0) ||
	    bpf_l4_csum_replace(skb, check, 0, csum_sub(length, bpf_htons(asked->end - asked->udp_off)),
				BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0))
		return TC_ACT_SHOT;
	if (dns_turn_round(skb, asked, length))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}
