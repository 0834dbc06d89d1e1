/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A question in a UDP datagram, read whole: what is not exactly one plain question of class IN, with nothing behind it but
 * an OPT record without options, is none of ours and user space's.
 */
#pragma once

#include "dns_maps.h"

#define DNS_HEADER 12
/* Type and class. */
#define DNS_QUESTION_TAIL 4
/* RFC 6891 6.1.2, without options. */
#define DNS_OPT 11
#define DNS_TYPE_OPT 41
#define DNS_CLASS_IN 1
/* RFC 1035 4.1.1, RFC 4035 3.2: what a question may have set here. */
#define DNS_RD 0x0100
#define DNS_AD 0x0020
#define DNS_CD 0x0010
#define DNS_DO 0x8000
/* RFC 1035 4.2.1 */
#define DNS_MIN_UDP 512

struct dns_header {
	__be16 id;
	__be16 flags;
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additionals;
};

/* As it stands in the packet. */
struct dns_opt {
	__u8 root;
	__be16 type;
	__be16 udp_size;
	__u8 rcode_high;
	__u8 version;
	__be16 flags;
	__be16 length;
} __attribute__((packed));

struct dns_asked {
	/* From the start of the frame. */
	__u32 udp_off;
	__u32 question_end;
	__u32 end;
	__u32 max_octets;
	struct dns_header header;
	struct dns_opt opt;
	bool has_opt;
	struct n64_dns_told told;
};

static __always_inline void told_ip4(__u8 *address, __be32 ip4)
{
	__u32 *word = (__u32 *)address;

	word[0] = 0;
	word[1] = 0;
	word[2] = bpf_htonl(0xffff);
	word[3] = ip4;
}

/* The IP and UDP headers of a whole datagram with a checksum; false where there are none. */
static __always_inline bool dns_read_headers(struct __sk_buff *skb, struct dns_asked *asked)
{
	void *data, *data_end;
	struct udphdr *udp;
	__u32 ip_end;

	/* TCP's and long streams' packets are not touched: what a question needs, and is asked by, is linear as it comes. */
	data = (void *)(long)skb->data;
	data_end = (void *)(long)skb->data_end;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip4 = data + L3_OFF;

		if ((void *)(ip4 + 1) > data_end || ip4->version != 4 || ip4->ihl != 5 ||
		    ip4->protocol != IPPROTO_UDP || (ip4->frag_off & bpf_htons(0x3fff)))
			return false;
		asked->udp_off = L3_OFF + IP4_LEN;
		ip_end = L3_OFF + bpf_ntohs(ip4->tot_len);
		told_ip4(asked->told.client, ip4->saddr);
		told_ip4(asked->told.asked, ip4->daddr);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = data + L3_OFF;

		if ((void *)(ip6 + 1) > data_end || ip6->version != 6 || ip6->nexthdr != IPPROTO_UDP)
			return false;
		asked->udp_off = L3_OFF + IP6_LEN;
		ip_end = L3_OFF + IP6_LEN + bpf_ntohs(ip6->payload_len);
		copy16(asked->told.client, &ip6->saddr);
		copy16(asked->told.asked, &ip6->daddr);
	} else {
		return false;
	}
	udp = data + asked->udp_off;
	if ((void *)(udp + 1) > data_end || !udp->check || !udp->source)
		return false;
	asked->end = asked->udp_off + bpf_ntohs(udp->len);
	asked->told.port_be = udp->dest;
	asked->told.ifindex = skb->ifindex;
	return asked->end == ip_end && asked->end == skb->len;
}

static __always_inline bool dns_is_listened(const struct n64_dns_state *state, __be16 port)
{
	bool found = false;

#pragma unroll
	for (int i = 0; i < N64_DNS_PORTS; i++)
		found |= state->ports_be[i] == port;
	return found && port;
}

/* RFC 4343 3, eight octets at once: the highest bit of an octet says that it lies between 'A' and 'Z'. */
static __always_inline __u64 dns_lower(__u64 octets)
{
	__u64 low = octets & 0x7f7f7f7f7f7f7f7full;
	__u64 from_a = low + (0x80 - 'A') * 0x0101010101010101ull;
	__u64 above_z = low + (0x7f - 'Z') * 0x0101010101010101ull;
	__u64 upper = (from_a ^ above_z) & ~octets & 0x8080808080808080ull;

	return octets | upper >> 2;
}

static __always_inline bool dns_read_opt(struct __sk_buff *skb, struct dns_asked *asked,
					 struct n64_dns_question *question)
{
	struct dns_opt *opt = &asked->opt;

	if (bpf_skb_load_bytes(skb, asked->end - DNS_OPT, opt, DNS_OPT))
		return false;
	/* RFC 6891 6.1.3: another version has an answer of its own. */
	if (opt->root || opt->type != bpf_htons(DNS_TYPE_OPT) || opt->rcode_high || opt->version || opt->length ||
	    (opt->flags & ~bpf_htons(DNS_DO)))
		return false;
	asked->max_octets = max_u32(bpf_ntohs(opt->udp_size), DNS_MIN_UDP);
	question->opt = opt->flags ? 3 : 1;
	return true;
}

/* False: nothing for us. */
static __always_inline bool dns_read_question(struct __sk_buff *skb, struct dns_asked *asked,
					      struct n64_dns_question *question)
{
	struct dns_header *header = &asked->header;
	__u32 at = asked->udp_off + sizeof(struct udphdr);
	__u32 octets, tail[1];

	if (bpf_skb_load_bytes(skb, at, header, sizeof(*header)))
		return false;
	if ((header->flags & ~bpf_htons(DNS_RD | DNS_AD | DNS_CD)) || header->questions != bpf_htons(1) ||
	    header->answers || header->authorities || (header->additionals & ~bpf_htons(1)))
		return false;
	__builtin_memset(question, 0, sizeof(*question));
	asked->question_end = asked->end;
	asked->max_octets = DNS_MIN_UDP;
	asked->has_opt = header->additionals;
	if (asked->has_opt) {
		asked->question_end -= DNS_OPT;
		if (!dns_read_opt(skb, asked, question))
			return false;
	}
	/* The name takes what is left: were it shorter, it would be no name that is known here. */
	octets = asked->question_end - at - DNS_HEADER - DNS_QUESTION_TAIL;
	barrier_var(octets);
	if (octets < 1 || octets > N64_DNS_NAME_OCTETS)
		return false;
	/* In words from which the verifier of 6.1 learns it, wherever the number is kept. */
	barrier_var(octets);
	octets = ((octets - 1) & (N64_DNS_NAME_OCTETS - 1)) + 1;
	if (bpf_skb_load_bytes(skb, at + DNS_HEADER, question->name, octets) ||
	    bpf_skb_load_bytes(skb, asked->question_end - DNS_QUESTION_TAIL, tail, sizeof(tail)))
		return false;
	if (((__be16 *)tail)[1] != bpf_htons(DNS_CLASS_IN))
		return false;
	for (int i = 0; i < N64_DNS_NAME_OCTETS / 8; i++)
		((__u64 *)question->name)[i] = dns_lower(((__u64 *)question->name)[i]);
	question->type_be = ((__be16 *)tail)[0];
	question->flags_be = header->flags;
	question->name_octets = octets;
	return true;
}
