/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What `gate64 monitor` is told: drops, sessions that begin and end, leases. While nobody watches, each of these costs one
 * look into an array. What is asked for is chosen here, so that the ring carries nothing else.
 */
#pragma once

#include "maps.h"
#include "rfc6052.h"

/* What is asked for, if it is this kind. Who was killed does not say so: it is taken for gone when it no longer renews. */
static __always_inline struct n64_watching *watch_wants(__u32 kind)
{
	struct n64_watching *asked;
	__u32 zero = 0;

	asked = bpf_map_lookup_elem(&n64_watching, &zero);
	if (!asked || !(READ_ONCE(asked->kinds) & 1u << kind))
		return NULL;
	if (ns_since(bpf_ktime_get_ns(), asked->until_ns) >= 0)
		return NULL;
	/* A branch of its own: clang would mask the pointer. */
	barrier_var(asked);
	return asked;
}

static __always_inline void watch_count_lost(void)
{
	__u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&n64_watch_lost, &zero);

	if (lost)
		*lost += 1;
}

static __always_inline bool watch_wants_pod(const struct n64_watching *asked, const void *address)
{
	const __u32 *pod = (const __u32 *)asked->pod, *mask = (const __u32 *)asked->pod_mask, *a = address;

	return !(((pod[0] ^ a[0]) & mask[0]) | ((pod[1] ^ a[1]) & mask[1]) | ((pod[2] ^ a[2]) & mask[2]) |
		 ((pod[3] ^ a[3]) & mask[3]));
}

static __always_inline bool watch_wants_any_pod(const struct n64_watching *asked)
{
	/* Masks are runs of ones. */
	return !asked->pod_mask[0];
}

static __always_inline bool watch_wants_dst(const struct n64_watching *asked, __be32 dst)
{
	return !((asked->dst_be ^ dst) & asked->dst_mask_be);
}

static __always_inline bool watch_wants_protocol(const struct n64_watching *asked, __u32 protocol)
{
	return !asked->protocol || asked->protocol == protocol + 1;
}

static __always_inline __u32 watch_protocol_of(__u32 ip_protocol)
{
	switch (ip_protocol) {
	case IPPROTO_TCP:
		return N64_TCP;
	case IPPROTO_UDP:
		return N64_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return N64_ICMP;
	}
	return N64_PROTOCOLS;
}

/* Whose the port is that an IPv4 packet is for, if that is known. */
static __always_inline bool watch_wants_port_of(const struct n64_watching *asked, struct __sk_buff *skb,
						const struct n64_drop_sample *packet)
{
	struct n64_bib4_key key = { .pool_be = *(const __u32 *)(packet->dst + 12), .port_be = packet->dport_be };
	struct n64_bib4 *bib;

	key.protocol = watch_protocol_of(packet->protocol);
	/* Echo: the identifier, behind type, code and checksum. */
	if (key.protocol == N64_ICMP && bpf_skb_load_bytes(skb, L3_OFF + IP4_LEN + 4, &key.port_be, 2))
		return false;
	bib = bpf_map_lookup_elem(&n64_bib4, &key);
	return bib && watch_wants_pod(asked, bib->src);
}

static __always_inline bool watch_wants_packet(const struct n64_watching *asked, struct __sk_buff *skb,
					       const struct n64_drop_sample *packet)
{
	__be32 dst = *(const __u32 *)(packet->src + 12);
	int prefix;

	if (!watch_wants_protocol(asked, watch_protocol_of(packet->protocol)))
		return false;
	if (packet->family == 4)
		return watch_wants_dst(asked, dst) &&
		       (watch_wants_any_pod(asked) || watch_wants_port_of(asked, skb, packet));
	if (!watch_wants_pod(asked, packet->src))
		return false;
	if (!asked->dst_mask_be)
		return true;
	prefix = prefix_find(packet->dst);
	if (prefix < 0 || !rfc6052_extract(cfg.prefixes[prefix & (N64_MAX_PREFIXES - 1)].length, packet->dst, &dst))
		return false;
	return watch_wants_dst(asked, dst);
}

/* The packet as it came in. */
static __noinline void sample_fill(struct __sk_buff *skb, struct n64_drop_sample *sample)
{
	__u8 version = 0;

	sample->at_ns = bpf_ktime_get_ns();
	sample->length = skb->len - L3_OFF;
	bpf_skb_load_bytes(skb, L3_OFF, &version, 1);
	if (version >> 4 == 6) {
		struct ipv6hdr ip6 = {};

		bpf_skb_load_bytes(skb, L3_OFF, &ip6, sizeof(ip6));
		copy16(sample->src, &ip6.saddr);
		copy16(sample->dst, &ip6.daddr);
		sample->family = 6;
		sample->protocol = ip6.nexthdr;
		if (bpf_skb_load_bytes(skb, L3_OFF + IP6_LEN, &sample->sport_be, 4))
			sample->sport_be = sample->dport_be = 0;
	} else {
		struct iphdr ip4 = {};

		bpf_skb_load_bytes(skb, L3_OFF, &ip4, sizeof(ip4));
		__builtin_memset(sample->src, 0, 16);
		__builtin_memset(sample->dst, 0, 16);
		*(__u32 *)(sample->src + 12) = ip4.saddr;
		*(__u32 *)(sample->dst + 12) = ip4.daddr;
		sample->family = 4;
		sample->protocol = ip4.protocol;
		if (bpf_skb_load_bytes(skb, L3_OFF + IP4_LEN, &sample->sport_be, 4))
			sample->sport_be = sample->dport_be = 0;
	}
}

/* Packets are dropped by one program a processor at a time: the record is made aside, and sent if it is asked for. */
static __always_inline void watch_drop(struct __sk_buff *skb, __u32 reason, __u32 direction)
{
	struct n64_watching *asked = watch_wants(N64_WATCH_DROP);
	struct n64_making *new = making();
	struct n64_watched_drop *told;

	if (!asked || !new || (asked->reason && asked->reason != reason))
		return;
	told = &new->told;
	sample_fill(skb, &told->packet);
	if (!watch_wants_packet(asked, skb, &told->packet))
		return;
	told->head.at_ns = told->packet.at_ns;
	told->head.kind = N64_WATCH_DROP;
	told->head.detail = reason * N64_DIRECTIONS + (direction & 1);
	if (bpf_ringbuf_output(&n64_watch, told, sizeof(*told), 0))
		watch_count_lost();
}

static __always_inline bool watch_wants_session(const struct n64_watching *asked, const struct n64_flow6_key *key)
{
	return watch_wants_pod(asked, key->src) && watch_wants_dst(asked, key->dst4_be) &&
	       watch_wants_protocol(asked, key->protocol);
}

static __always_inline void watched_session_fill(struct n64_watched_session *told, __u32 kind,
						 const struct n64_flow6_key *key, const struct n64_flow6 *six,
						 const struct n64_flow4 *four)
{
	told->head.at_ns = bpf_ktime_get_ns();
	told->head.kind = kind;
	told->head.detail = 0;
	told->session.key = *key;
	told->session.kind = N64_RECORD_ENDED;
	told->session.six = *six;
	if (four)
		told->session.four = *four;
	else
		__builtin_memset(&told->session.four, 0, sizeof(told->session.four));
}

/* The session of making(). */
GLOBAL int watch_begun(void)
{
	struct n64_watching *asked = watch_wants(N64_WATCH_BEGIN);
	struct n64_making *new = making();

	if (!asked || !new || !watch_wants_session(asked, &new->key6))
		return 0;
	watched_session_fill(&new->begun, N64_WATCH_BEGIN, &new->key6, &new->six, &new->four);
	if (bpf_ringbuf_output(&n64_watch, &new->begun, sizeof(new->begun), 0))
		watch_count_lost();
	return 0;
}

/*
 * Of a session that is about to be deleted: afterwards nothing of it can be read. Of two processors that delete it at once
 * both tell. Not made aside, since a packet may interrupt the sweep; and sent here, since the verifier of 6.1 loses sight of a
 * record that is held over other calls.
 */
static __always_inline void watch_ended(const struct n64_flow6_key *key, const struct n64_flow6 *six,
					const struct n64_flow4 *four)
{
	struct n64_watching *asked = watch_wants(N64_WATCH_END);
	struct n64_watched_session *told;

	if (!asked || !watch_wants_session(asked, key))
		return;
	told = bpf_ringbuf_reserve(&n64_watch, sizeof(*told), 0);
	if (!told) {
		watch_count_lost();
		return;
	}
	watched_session_fill(told, N64_WATCH_END, key, six, four);
	bpf_ringbuf_submit(told, 0);
}

/* A block for the pod of making()'s request. One asked for by its address may be known by the network it is in. */
GLOBAL int watch_leased(__u32 block)
{
	struct n64_watching *asked = watch_wants(N64_WATCH_LEASE);
	struct n64_making *new = making();
	struct n64_watched_lease *told;
	__u8 mask[16];

	if (!asked || !new)
		return 0;
	config_copy16(mask, cfg.pod_mask);
	for (int i = 0; i < 4; i++) {
		__u32 differ = ((__u32 *)asked->pod)[i] ^ ((__u32 *)new->request.src)[i];

		if (differ & ((__u32 *)asked->pod_mask)[i] & ((__u32 *)mask)[i])
			return 0;
	}
	told = &new->leased;
	told->head.at_ns = bpf_ktime_get_ns();
	told->head.kind = N64_WATCH_LEASE;
	told->head.detail = block;
	copy16(told->holder, new->request.src);
	if (bpf_ringbuf_output(&n64_watch, told, sizeof(*told), 0))
		watch_count_lost();
	return 0;
}
