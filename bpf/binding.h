/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Bindings (RFC 6146 3.1): two entries, one a side, made with BPF_NOEXIST, so that of two processors one wins; and whom a
 * binding has written to, which the filter asks for (RFC 6146 3.5.1).
 */
#pragma once

#include "policy.h"
#include "port.h"

#define EEXIST_RESULT (-17)

/*
 * Users of an entry that goes with the last of them. False: it is about to go, and nobody may join any more. What was added
 * to it then stays: its place may be another entry's a moment later, whose count it would be taken from.
 * Who has joined an entry looks it up again: if another is there, the count went to a stranger in its place, which stays
 * there while it is counted, and is left again.
 */
static __always_inline bool refs_join(__u32 *refs)
{
	return !(__sync_fetch_and_add(refs, 1) & N64_REFS_DEAD);
}

/* Whether it was the last. The count of one that is left by more than have joined stays 0. */
static __always_inline bool refs_leave(__u32 *refs)
{
	__u32 before = __sync_fetch_and_sub(refs, 1);

	if (!(before & ~N64_REFS_DEAD))
		__sync_fetch_and_add(refs, 1);
	return before == 1;
}

/* Whether nobody has joined since, so that the entry is the caller's to delete. */
static __always_inline bool refs_end(__u32 *refs)
{
	return __sync_val_compare_and_swap(refs, 0, N64_REFS_DEAD) == 0;
}

/*
 * RFC 6146 3.1: a dynamic binding goes with its last session, a static one stays. A binding that stands in the place of the
 * one that was joined counts other sessions: it is left alone.
 */
static __noinline void bib_leave(const struct n64_bib6_key *key, __u32 generation)
{
	struct n64_bib6 *bib = bpf_map_lookup_elem(&n64_bib6, key);
	struct n64_bib4_key key4 = {};
	__u32 block;

	if (!bib || (__u32)bib->created_ns != generation)
		return;
	if (!refs_leave(&bib->refs) || bib->is_static || !refs_end(&bib->refs))
		return;
	key4.pool_be = bib->pool_be;
	key4.port_be = bib->port_be;
	key4.protocol = key->protocol;
	block = bib->block;
	bpf_map_delete_elem(&n64_bib6, key);
	bpf_map_delete_elem(&n64_bib4, &key4);
	port_release(block, key->protocol, bpf_ntohs(key4.port_be));
	count_live(N64_LIVE_BINDINGS, key->protocol, -1);
}

/* Takes a port and writes the IPv4 side; N64_PASS, why there is no port, or the update's own error. */
static __always_inline int port_claim(struct port_request *request, struct n64_bib4_key *key4, struct n64_bib4 *bib4)
{
	int reason = port_take();

	if (reason)
		return reason;
	key4->pool_be = request->pool_be;
	key4->port_be = bpf_htons(request->port);
	return bpf_map_update_elem(&n64_bib4, key4, bib4, BPF_NOEXIST);
}

/* Joins the binding of (X',x), if there is one; making()->bib6 has it. */
GLOBAL bool bib_join(const struct n64_bib6_key *of)
{
	struct n64_making *new = making();
	struct n64_bib6_key key;
	struct n64_bib6 *bib;

	if (!of || !new)
		return false;
	key = *of;
	bib = bpf_map_lookup_elem(&n64_bib6, &key);
	if (!bib || !refs_join(&bib->refs))
		return false;
	if (bpf_map_lookup_elem(&n64_bib6, &key) != bib) {
		refs_leave(&bib->refs);
		return false;
	}
	new->bib6 = *bib;
	return true;
}

/* Makes the binding of (X',x), or joins the one another processor just made; making()->bib6 has it. */
GLOBAL int bib_create(const struct n64_bib6_key *wanted)
{
	struct n64_making *new = making();
	struct n64_bib6_key *key;
	struct port_request *request;
	struct n64_bib4_key key4 = {};
	struct n64_bib4 bib4 = {};
	struct n64_bib6 *out;
	int result;

	if (!wanted || !new)
		return N64_DROP_SESSION_CONFLICT;
	key = &new->bib6_key;
	*key = *wanted;
	out = &new->bib6;
	request = &new->request;
	pod_of(request->src, key->src);
	request->protocol = key->protocol;
	request->wanted = bpf_ntohs(key->port_be);
	out->created_ns = bpf_ktime_get_ns();
	out->is_static = out->zero = 0;
	out->refs = 1;
	key4.protocol = key->protocol;
	copy16(bib4.src, key->src);
	bib4.port_be = key->port_be;
	result = port_claim(request, &key4, &bib4);
	if (result == EEXIST_RESULT) {
		/* A static binding that is younger than the block's lease: its bit stays set, and another port does as well. */
		port_pass_over(request->block);
		request->wanted = 0;
		result = port_claim(request, &key4, &bib4);
	}
	if (result > 0)
		return result;
	out->pool_be = key4.pool_be;
	out->port_be = key4.port_be;
	out->block = request->block;
	if (!result) {
		result = bpf_map_update_elem(&n64_bib6, key, out, BPF_NOEXIST);
		if (!result) {
			count_live(N64_LIVE_BINDINGS, key->protocol, 1);
			return N64_PASS;
		}
		bpf_map_delete_elem(&n64_bib4, &key4);
	}
	port_release(request->block, key->protocol, request->port);
	if (result != EEXIST_RESULT)
		return N64_DROP_SESSIONS_FULL;
	return bib_join(key) ? N64_PASS : N64_DROP_SESSION_CONFLICT;
}

/* ---- address-dependent filtering ---- */

/*
 * TCP from outside needs a session or a static binding anyway; an ICMP session is one with its filter. Kept under either
 * filtering: a session may end under another than it began under.
 */
static __always_inline bool needs_peer(__u8 protocol)
{
	return protocol == N64_UDP;
}

static __always_inline struct n64_peer_key peer_key_of(const struct n64_flow4_key *flow)
{
	return (struct n64_peer_key){
		.pool_be = flow->dst_be,
		.remote_be = flow->src_be,
		.port_be = flow->dport_be,
		.protocol = flow->protocol,
	};
}

/* One that is about to go is waited for: whoever marked it deletes it with the next instructions. */
static __noinline void peer_join(const struct n64_flow4_key *flow)
{
	struct n64_peer_key key = peer_key_of(flow);
	struct n64_peer one = { .refs = 1 };
	struct n64_peer *peer;

#pragma unroll
	for (int try = 0; try < 8; try++) {
		if (bpf_map_update_elem(&n64_peer, &key, &one, BPF_NOEXIST) != EEXIST_RESULT)
			return;
		peer = bpf_map_lookup_elem(&n64_peer, &key);
		if (!peer || !refs_join(&peer->refs))
			continue;
		if (bpf_map_lookup_elem(&n64_peer, &key) == peer)
			return;
		refs_leave(&peer->refs);
	}
}

/* Nobody joins between the last one's leaving and the end of the entry: it would take the new one's count along. */
static __noinline void peer_leave(const struct n64_flow4_key *flow)
{
	struct n64_peer_key key = peer_key_of(flow);
	struct n64_peer *peer = bpf_map_lookup_elem(&n64_peer, &key);

	if (peer && refs_leave(&peer->refs) && refs_end(&peer->refs))
		bpf_map_delete_elem(&n64_peer, &key);
}

static __always_inline bool peer_known(const struct n64_flow4_key *flow)
{
	struct n64_peer_key key = peer_key_of(flow);

	return bpf_map_lookup_elem(&n64_peer, &key) != NULL;
}
