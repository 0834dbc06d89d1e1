/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sessions (RFC 6146 3.2, 3.5): two entries, one a direction, each with all that its direction needs. Entries are made with
 * BPF_NOEXIST, so that of two processors one wins. Expiry is judged by whichever entry was seen last.
 */
#pragma once

#include "binding.h"
#include "csum.h"
#include "policy.h"
#include "tcp.h"

static __always_inline __u64 timeout_ns(__u8 state)
{
	__u32 at = state;

	/* The register that is checked must be the one that is used: Linux 6.1 does not see that two are the same. */
	barrier_var(at);
	if (at >= N64_STATES)
		at = 0;
	return cfg.timeout_ns[at];
}

static __always_inline bool is_icmp(__u8 protocol)
{
	return protocol == N64_ICMP;
}

/* The other entry's key. For ICMP both sides have the identifier as the pod's port and 0 as the far one. */
static __always_inline void flow4_key_of(struct n64_flow4_key *key4, const struct n64_flow6_key *key6, __be32 pool,
					 __be16 port)
{
	key4->src_be = key6->dst4_be;
	key4->dst_be = pool;
	key4->sport_be = key6->dport_be;
	key4->dport_be = port;
	key4->protocol = key6->protocol;
	__builtin_memset(key4->zero, 0, sizeof(key4->zero));
}

static __always_inline void flow6_key_of(struct n64_flow6_key *key6, const struct n64_flow4_key *key4,
					 const struct n64_flow4 *flow4)
{
	copy16(key6->src, flow4->src);
	key6->dst4_be = key4->src_be;
	key6->sport_be = flow4->port_be;
	key6->dport_be = key4->sport_be;
	key6->protocol = key4->protocol;
	key6->prefix = flow4->prefix;
	key6->zero[0] = key6->zero[1] = 0;
}

/* A session more of the pod. One that has static bindings alone gets its record here; without one it is not limited. */
static __noinline void session_count_begin(const struct n64_flow6_key *key6, bool outside)
{
	struct n64_pod *pod;
	__u8 of[16];

	count_live(N64_LIVE_SESSIONS, key6->protocol, 1);
	pod_of(of, key6->src);
	pod = bpf_map_lookup_elem(&n64_pods, of);
	if (!pod) {
		pod_create_empty(of);
		pod = bpf_map_lookup_elem(&n64_pods, of);
	}
	if (!pod)
		return;
	__sync_fetch_and_add(&pod->sessions, 1);
	if (outside)
		__sync_fetch_and_add(&pod->outside, 1);
}

static __noinline void session_count_end(const struct n64_flow6_key *key6, bool outside)
{
	struct n64_pod *pod;
	__u32 sessions;
	__u8 of[16];

	count_live(N64_LIVE_SESSIONS, key6->protocol, -1);
	pod_of(of, key6->src);
	pod = bpf_map_lookup_elem(&n64_pods, of);
	if (!pod)
		return;
	if (outside && (__s32)__sync_fetch_and_sub(&pod->outside, 1) <= 0)
		__sync_fetch_and_add(&pod->outside, 1);
	sessions = __sync_fetch_and_sub(&pod->sessions, 1);
	/* The record is younger than the session. */
	if ((__s32)sessions <= 0)
		__sync_fetch_and_add(&pod->sessions, 1);
	/* One with blocks goes with its last block. */
	else if (sessions == 1 && !READ_ONCE(pod->top))
		bpf_map_delete_elem(&n64_pods, of);
}

/* Sessions begun from outside count apart: whoever fills their share takes nothing of the pod's own. */
static __always_inline bool pod_is_full(const __u8 *src, bool outside)
{
	__s32 from_outside, count;
	struct n64_pod *pod;
	__u8 of[16];

	pod_of(of, src);
	pod = bpf_map_lookup_elem(&n64_pods, of);
	if (!pod)
		return false;
	from_outside = READ_ONCE(pod->outside);
	count = outside ? from_outside : (__s32)READ_ONCE(pod->sessions) - from_outside;
	return count >= (__s32)cfg.max_sessions_per_pod;
}

/*
 * Removes both entries and lets the binding go. Of two that try, the one that takes created_ns away does it all: a key alone
 * would delete a session that has been made meanwhile, and give back what an earlier one held. What is looked up a second
 * time has had its created_ns since before, or does not lose it. The key is on the stack: a packet may interrupt the sweep,
 * and would have made another one of it in making().
 */
GLOBAL int session_delete(const struct n64_flow6_key *of, __be32 pool, __be16 port)
{
	struct n64_bib6_key bib = {};
	struct n64_flow6_key key6;
	struct n64_flow4_key key4;
	struct n64_flow6 *six;
	__u32 generation;
	__u64 created;
	bool outside;

	if (!of)
		return 0;
	key6 = *of;
	six = bpf_map_lookup_elem(&n64_flow6, &key6);
	if (!six)
		return 0;
	created = READ_ONCE(six->created_ns);
	/* It is being made or deleted this moment, or is not the one that was meant. */
	if (!created || READ_ONCE(six->pool_be) != pool || READ_ONCE(six->port_be) != port)
		return 0;
	flow4_key_of(&key4, &key6, pool, port);
	watch_ended(&key6, six, bpf_map_lookup_elem(&n64_flow4, &key4));
	if (bpf_map_lookup_elem(&n64_flow6, &key6) != six)
		return 0;
	if (__sync_val_compare_and_swap(&six->created_ns, created, 0) != created)
		return 0;
	generation = six->generation;
	outside = six->flags & N64_FLOW_OUTSIDE;
	/* Linux 6.1 refuses what interrupts another at the same part of the table. */
	if (bpf_map_delete_elem(&n64_flow6, &key6)) {
		WRITE_ONCE(six->created_ns, created);
		return 0;
	}
	session_count_end(&key6, outside);
	bpf_map_delete_elem(&n64_flow4, &key4);
	if (needs_peer(key6.protocol))
		peer_leave(&key4);
	copy16(bib.src, key6.src);
	bib.port_be = key6.sport_be;
	bib.protocol = key6.protocol;
	bib_leave(&bib, generation);
	return 0;
}

/* Beside the state that a session begins in. */
#define FROM_OUTSIDE 0x100

static __always_inline void flows_fill(const struct n64_flow6_key *key6, struct n64_flow6 *six, struct n64_flow4 *four,
				       __be32 pool, __be16 port, __u32 origin)
{
	__u8 dst6[16];
	__u32 sum6, sum4;

	rfc6052_compose(&cfg.prefixes[key6->prefix & (N64_MAX_PREFIXES - 1)], key6->dst4_be, dst6);
	sum6 = csum_add(csum_ip6(key6->src), csum_ip6(dst6));
	sum4 = csum_ip4_pair(pool, key6->dst4_be);
	__builtin_memset(six, 0, sizeof(*six));
	__builtin_memset(four, 0, sizeof(*four));
	six->created_ns = bpf_ktime_get_ns();
	six->last_ns = four->last_ns = now_ns();
	six->pool_be = pool;
	six->port_be = port;
	six->state = four->state = origin & 0xff;
	six->flags = (origin & FROM_OUTSIDE ? N64_FLOW_OUTSIDE : 0) | (is_pool(key6->dst4_be) ? N64_FLOW_HAIRPIN : 0);
	six->csum_delta = csum_sub(sum4, sum6);
	copy16(four->src, key6->src);
	four->port_be = key6->sport_be;
	four->prefix = key6->prefix;
	four->csum_delta = csum_sub(sum6, sum4);
}

/*
 * Puts both entries in place; the binding has been joined already and is left again if that fails. Whose IPv6 entry it is,
 * its session is counted in the binding; created_ns comes last, since without it nobody deletes the session.
 */
GLOBAL int session_insert(const struct n64_flow6_key *wanted, __be32 pool, __be16 port, __u32 origin, __u32 generation)
{
	struct n64_flow6_key *key6;
	struct n64_bib6_key bib = {};
	struct n64_making *new = making();
	struct n64_flow4_key key4;
	struct n64_flow6 *six;
	__u64 created;
	int result;

	if (!new || !wanted)
		return N64_DROP_SESSIONS_FULL;
	key6 = &new->key6;
	*key6 = *wanted;
	bib.port_be = key6->sport_be;
	bib.protocol = key6->protocol;
	flows_fill(key6, &new->six, &new->four, pool, port, origin);
	new->six.generation = generation;
	created = new->six.created_ns;
	new->six.created_ns = 0;
	flow4_key_of(&key4, key6, pool, port);
	copy16(bib.src, key6->src);
	result = bpf_map_update_elem(&n64_flow6, key6, &new->six, BPF_NOEXIST);
	if (result) {
		bib_leave(&bib, generation);
		if (result != EEXIST_RESULT)
			return N64_DROP_SESSIONS_FULL;
		six = bpf_map_lookup_elem(&n64_flow6, key6);
		/* Another processor is making this very session. One that has run out is being deleted this moment. */
		if (!six || ns_after(now_ns(), six->last_ns, timeout_ns(six->state)))
			return N64_DROP_SESSION_CONFLICT;
		return N64_PASS;
	}
	result = bpf_map_update_elem(&n64_flow4, &key4, &new->four, BPF_NOEXIST);
	six = bpf_map_lookup_elem(&n64_flow6, key6);
	if (result || !six) {
		/* The pair is that of another prefix, or has not been deleted yet. */
		bpf_map_delete_elem(&n64_flow6, key6);
		bib_leave(&bib, generation);
		return result == EEXIST_RESULT ? N64_DROP_SESSION_CONFLICT : N64_DROP_SESSIONS_FULL;
	}
	if (needs_peer(key6->protocol))
		peer_join(&key4);
	session_count_begin(key6, origin & FROM_OUTSIDE);
	new->six.created_ns = created;
	watch_begun();
	WRITE_ONCE(six->created_ns, created);
	return N64_PASS;
}

static __always_inline __u8 initial_state(__u8 protocol, __u32 direction)
{
	if (protocol == N64_TCP)
		return direction == N64_6TO4 ? N64_V6_INIT : N64_V4_INIT;
	return protocol == N64_UDP ? N64_OPEN_UDP : N64_OPEN_ICMP;
}

/* RFC 6146 3.5.1 to 3.5.3, from the IPv6 side: find or make the binding, make the session. N64_PASS, or why not. */
GLOBAL int session_create6(struct __sk_buff *skb, const struct n64_flow6_key *key6, __u8 tcp_flags)
{
	struct n64_bib6_key key = {};
	struct n64_making *new = making();
	struct n64_bib6 *bib;
	int reason;

	if (!key6 || !new)
		return N64_DROP_SESSION_CONFLICT;
	key.port_be = key6->sport_be;
	key.protocol = key6->protocol;
	reason = policy_source(key6->src);
	if (reason)
		return reason;
	reason = policy_session(key6);
	if (reason)
		return reason;
	reason = policy_route_back(skb, key6);
	if (reason)
		return reason;
	if (key6->protocol == N64_TCP && !tcp_opens(tcp_flags))
		return N64_DROP_TCP_NO_SESSION;
	copy16(key.src, key6->src);
	/* RFC 6888 REQ-4 is about ports; one port with many destinations takes as much. */
	if (pod_is_full(key.src, false))
		return N64_DROP_POD_QUOTA;
	bib = bpf_map_lookup_elem(&n64_bib6, &key);
	/* Whom a static binding talks to, others have begun with. */
	if (!(bib && bib->is_static) && !destination_admitted(key6->dst4_be))
		return N64_DROP_NOT_ADMITTED;
	if (bib) {
		if (!bib_join(&key))
			return N64_DROP_SESSION_CONFLICT;
	} else {
		new->request.device = skb->ingress_ifindex;
		reason = bib_create(&key);
		if (reason)
			return reason;
	}
	return session_insert(key6, new->bib6.pool_be, new->bib6.port_be, initial_state(key6->protocol, N64_6TO4),
			      new->bib6.created_ns);
}

/* A pool address is one only of what comes from the device: of another pod's packet. */
GLOBAL bool may_be_source(__be32 src, __u32 prefix, bool hairpin)
{
	int reason = policy_destination(src, prefix);

	return !reason || (reason == N64_DROP_DST_POOL && hairpin);
}

/*
 * From the IPv4 side: there must be a binding, and the filter must agree (RFC 6146 3.5.1, 3.5.2.2 rows 02, 05, 3.5.3).
 * The source address under our prefix is the pod's view of Z; the first prefix that may carry it serves.
 */
GLOBAL int session_create4(const struct n64_flow4_key *key4, const struct n64_bib4 *bib4, __u8 tcp_flags, bool hairpin)
{
	struct n64_flow6_key key6 = {};
	struct n64_bib6_key key = {};
	struct n64_making *new = making();
	bool is_static;

	if (!key4 || !bib4)
		return N64_DROP_SESSION_CONFLICT;
	is_static = bib4->is_static;
	if (ip4_source_illegal(key4->src_be))
		return N64_DROP_SOURCE_ILLEGAL;
	if (key4->protocol == N64_TCP) {
		if (!tcp_opens(tcp_flags))
			return N64_DROP_TCP_NO_SESSION;
		if (!is_static && !cfg.endpoint_independent_filtering)
			return N64_DROP_TCP_EXTERNAL_SYN;
	} else if (!is_static && !cfg.endpoint_independent_filtering && !peer_known(key4)) {
		return N64_DROP_FILTERED;
	}
	copy16(key6.src, bib4->src);
	key6.dst4_be = key4->src_be;
	key6.sport_be = bib4->port_be;
	key6.dport_be = key4->sport_be;
	key6.protocol = key4->protocol;
	/* The filter that keeps pods from an address keeps that address from pods (RFC 6052 5.3). */
	while (!prefix_is_there(key6.prefix) || !may_be_source(key4->src_be, key6.prefix, hairpin)) {
		if (++key6.prefix >= cfg.prefix_count || key6.prefix >= N64_MAX_PREFIXES)
			return N64_DROP_FILTERED;
	}
	copy16(key.src, bib4->src);
	key.port_be = bib4->port_be;
	key.protocol = key4->protocol;
	/* A static binding says itself that the pod is to be reached. */
	if (!is_static && !source_listed(key.src))
		return N64_DROP_SOURCE_NOT_ALLOWED;
	if (pod_is_full(key.src, true))
		return N64_DROP_POD_QUOTA;
	if (!new || !bib_join(&key))
		return N64_DROP_NO_BINDING;
	/* It has gone since `bib4` was found, and the pod's port has another. */
	if (new->bib6.pool_be != key4->dst_be || new->bib6.port_be != key4->dport_be) {
		bib_leave(&key, new->bib6.created_ns);
		return N64_DROP_NO_BINDING;
	}
	return session_insert(&key6, key4->dst_be, key4->dport_be,
			      initial_state(key4->protocol, N64_4TO6) | FROM_OUTSIDE, new->bib6.created_ns);
}

/* Whether the session has run out, the other entry heard too (RFC 6146 4: absent from then on, swept or not). */
GLOBAL bool session6_expired(const struct n64_flow6_key *key6, struct n64_flow6 *flow)
{
	struct n64_flow4_key key4;
	struct n64_flow4 *four;
	__u64 last;

	if (!key6 || !flow)
		return true;
	last = flow->last_ns;
	flow4_key_of(&key4, key6, flow->pool_be, flow->port_be);
	four = bpf_map_lookup_elem(&n64_flow4, &key4);
	if (four && ns_since(four->last_ns, last) > 0)
		last = four->last_ns;
	return !four || ns_after(now_ns(), last, timeout_ns(flow->state));
}

GLOBAL bool session4_expired(const struct n64_flow4_key *key4, struct n64_flow4 *flow)
{
	struct n64_flow6_key key6;
	struct n64_flow6 *six;
	__u64 last;

	if (!key4 || !flow)
		return true;
	last = flow->last_ns;
	flow6_key_of(&key6, key4, flow);
	six = bpf_map_lookup_elem(&n64_flow6, &key6);
	if (six && ns_since(six->last_ns, last) > 0)
		last = six->last_ns;
	return !six || ns_after(now_ns(), last, timeout_ns(flow->state));
}
