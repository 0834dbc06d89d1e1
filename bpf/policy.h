/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who may use the gateway, and where to. Asked when a session is created, at each sweep, and for each ICMPv6 error. */
#pragma once

#include "rfc6052.h"
#include "maps.h"

/* Whether the interface leads outside. */
static __always_inline bool is_uplink(__u32 ifindex)
{
	for (int i = 0; i < N64_MAX_UPLINKS; i++) {
		if ((__u32)i >= cfg.uplink_count)
			break;
		if (ifindex == cfg.uplink_ifindex[i])
			return true;
	}
	return false;
}

/* RFC 7915 5.1: sources that no packet may carry: ::, ::1, multicast, link-local, IPv4-mapped. */
static __always_inline bool ip6_source_illegal(const __u8 *src)
{
	const __u32 *w = (const __u32 *)src;

	if (src[0] == 0xff || (src[0] == 0xfe && (src[1] & 0xc0) == 0x80))
		return true;
	if (w[0] | w[1])
		return false;
	if (w[2] == bpf_htonl(0xffff))
		return true;
	return !w[2] && !(w[3] & ~bpf_htonl(1));
}

/* RFC 7915 4.1: 0/8, 127/8, 224/4, 240/4. */
static __always_inline bool ip4_source_illegal(__be32 src)
{
	__u32 first = *(__u8 *)&src;

	return first == 0 || first == 127 || first >= 224;
}

/* Whether the list of allowed sources, if there is one, has it. */
static __always_inline bool source_listed(const __u8 *src)
{
	struct n64_lpm6_key key = { .length = 128 };

	if (!cfg.restrict_sources)
		return true;
	copy16(key.address, src);
	return bpf_map_lookup_elem(&n64_src6, &key);
}

static __noinline int policy_source(const __u8 *src)
{
	if (ip6_source_illegal(src))
		return N64_DROP_SOURCE_ILLEGAL;
	/* RFC 6146 3.5: a source under our own prefix would loop. */
	if (prefix_find(src) >= 0)
		return N64_DROP_SOURCE_IN_PREFIX;
	return source_listed(src) ? N64_PASS : N64_DROP_SOURCE_NOT_ALLOWED;
}

/* Whose an address is for quotas and blocks: the pod's, which may have a whole prefix (nat64.podPrefixLength). */
static __always_inline void pod_of(void *pod, const void *src)
{
	const volatile __u32 *mask = (const volatile __u32 *)cfg.pod_mask;

	for (int i = 0; i < 4; i++)
		((__u32 *)pod)[i] = ((const __u32 *)src)[i] & mask[i];
}

/*
 * RFC 6146 3.8: a pool address is where the pods behind it are. Echo requests have no port that could say which.
 */
static __always_inline bool is_hairpin(const struct n64_flow6_key *key6)
{
	struct n64_bib4_key key = {
		.pool_be = key6->dst4_be,
		.port_be = key6->dport_be,
		.protocol = key6->protocol,
	};

	return key6->protocol != N64_ICMP && bpf_map_lookup_elem(&n64_bib4, &key);
}

/*
 * A source is believed if the node's own route back to it leads where its packet came from, or at least not outside by
 * another way: a forged one would take ports and quota of somebody else's. The node's own packets need no asking.
 */
GLOBAL int policy_route_back(struct __sk_buff *skb, const struct n64_flow6_key *key6)
{
	struct bpf_fib_lookup fib = { .family = WAY_INET6, .ifindex = cfg.device_ifindex, .tot_len = 1 };
	long result;

	if (cfg.check_sources == N64_SOURCE_UNCHECKED || !skb->ingress_ifindex || !key6)
		return N64_PASS;
	copy16(fib.ipv6_dst, key6->src);
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		break;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		/* It leads somewhere, by a tunnel say, or cannot be told. */
		return N64_PASS;
	default:
		return N64_DROP_SOURCE_NOT_ROUTED;
	}
	if (fib.ifindex == skb->ingress_ifindex)
		return N64_PASS;
	if (cfg.check_sources == N64_SOURCE_STRICT || is_uplink(fib.ifindex))
		return N64_DROP_SOURCE_NOT_ROUTED;
	return N64_PASS;
}

/* One that the node had and has lost is another host's: what the node has still is refused before this is asked. */
static __always_inline bool is_pool(__be32 dst)
{
	struct n64_pool_address *pool = bpf_map_lookup_elem(&n64_pool, &dst);

	return pool && !(pool->shared && pool->draining);
}

GLOBAL int policy_destination(__be32 dst, __u32 prefix)
{
	struct n64_lpm4_key key = { .length = 32, .address_be = dst };
	__u32 *verdict = bpf_map_lookup_elem(&n64_dst4, &key);

	switch (verdict ? *verdict : N64_ALLOW) {
	case N64_NEVER:
		return N64_DROP_DST_NEVER;
	case N64_NODE:
		return is_pool(dst) ? N64_DROP_DST_POOL : N64_DROP_DST_NODE;
	case N64_DENIED:
		return N64_DROP_DST_DENIED;
	case N64_NON_GLOBAL:
		/* RFC 6052 3.1 binds the well-known prefix alone. */
		if (cfg.prefixes[prefix & (N64_MAX_PREFIXES - 1)].well_known)
			return N64_DROP_DST_NON_GLOBAL;
	}
	return is_pool(dst) ? N64_DROP_DST_POOL : N64_PASS;
}

/* Whether a session may lead where it does, to another pod included. */
static __always_inline int policy_session(const struct n64_flow6_key *key6)
{
	int reason = policy_destination(key6->dst4_be, key6->prefix);

	return reason == N64_DROP_DST_POOL && is_hairpin(key6) ? N64_PASS : reason;
}

/* Asked for new sessions alone: one that is there goes on when its name's time is over. */
static __always_inline bool destination_admitted(__be32 dst)
{
	__u64 *until;

	if (!cfg.admit_listed)
		return true;
	until = bpf_map_lookup_elem(&n64_admitted, &dst);
	return until && ns_since(READ_ONCE(*until), now_ns()) > 0;
}
