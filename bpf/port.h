/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Ports of a pod: it takes a block when it first needs one, and its ports are searched inside its blocks alone (RFC 6146
 * 3.5.1.1, RFC 6888 REQ-2: one pool address a pod).
 */
#pragma once

#include "events.h"
#include "slot.h"

struct pod_search {
	struct n64_pod *pod;
	__u32 protocol;
	__u32 wanted;
	__u32 top;
	__u32 block;
	int port;
};

static long pod_search_block(__u32 index, struct pod_search *search)
{
	struct n64_pod *pod = search->pod;
	__u32 block;
	int port;

	if (!pod)
		return 1;
	/* Any port: the block that had one the last time comes first. */
	if (search->wanted == ANY_PORT) {
		index += pod->hint;
		if (index >= search->top)
			index -= search->top;
	}
	if (index >= N64_MAX_BLOCKS_PER_POD)
		return 1;
	block = READ_ONCE(pod->block[index]);
	if (!block)
		return 0;
	block--;
	port = block_take_port(block, search->protocol, search->wanted);
	if (port < 0)
		return 0;
	search->block = block;
	search->port = port;
	pod->hint = index;
	return 1;
}

/* From any of the pod's blocks. */
static __noinline int pod_take_port(struct n64_pod *pod, struct port_request *request, __u32 wanted)
{
	struct pod_search search = { .pod = pod, .protocol = request->protocol, .wanted = wanted, .port = -1 };
	struct n64_block *block;

	search.top = READ_ONCE(pod->top);
	bpf_loop(search.top, pod_search_block, &search, 0);
	if (search.port < 0)
		return -1;
	block = bpf_map_lookup_elem(&n64_blocks, &search.block);
	request->port = search.port;
	request->pool_be = block ? block->pool_be : 0;
	request->block = search.block;
	return 0;
}

struct pod_blocks {
	struct n64_pod *pod;
	/* Index plus one of a block to put where there is room first; 0: only count. */
	__u32 block;
	/* Out: how many are of addresses that serve, and the slot of one of those. */
	__u32 held;
	__u32 slot;
	int put_at;
};

static long pod_visit_block(__u32 index, struct pod_blocks *blocks)
{
	struct n64_pod *pod = blocks->pod;

	if (!pod || index >= N64_MAX_BLOCKS_PER_POD)
		return 1;
	if (!blocks->block) {
		__u32 held = READ_ONCE(pod->block[index]) - 1;
		struct n64_block *block = bpf_map_lookup_elem(&n64_blocks, &held);

		struct n64_pool_address *address = block ? block_address(block) : NULL;

		if (address) {
			blocks->held++;
			blocks->slot = address->slot;
		}
		return 0;
	}
	if (__sync_val_compare_and_swap(&pod->block[index], 0, blocks->block))
		return 0;
	blocks->put_at = index;
	return 1;
}

/* `top` covers every block held, whatever another processor writes. */
static __always_inline void pod_raise_top(struct n64_pod *pod, __u32 top)
{
	for (int try = 0; try < 4; try++) {
		__u32 old = READ_ONCE(pod->top);

		if (old >= top || __sync_val_compare_and_swap(&pod->top, old, top) == old)
			return;
	}
}

/* One more block for a pod that has none free; N64_PASS, or why not. */
static __noinline int pod_grow(struct n64_pod *pod, const __u8 *src)
{
	struct pod_blocks blocks = { .pod = pod, .put_at = -1 };
	__u32 slot;
	int index;

	bpf_loop(READ_ONCE(pod->top), pod_visit_block, &blocks, 0);
	if (blocks.held >= cfg.max_blocks_per_pod)
		return N64_DROP_POD_QUOTA;
	if (blocks.held && stock_is_low())
		return N64_DROP_POOL_EXHAUSTED;
	/* RFC 6888 REQ-2 holds the pod to its address while that has blocks; another one serves better than none. */
	slot = blocks.slot;
	index = blocks.held ? slot_lease(slot, src) : -1;
	if (index < 0)
		index = slots_lease(src, &slot);
	if (index < 0)
		return N64_DROP_POOL_EXHAUSTED;
	pod->slot = slot;
	blocks.block = index + 1;
	bpf_loop(N64_MAX_BLOCKS_PER_POD, pod_visit_block, &blocks, 0);
	if (blocks.put_at < 0) {
		slot_return(slot, index);
		return N64_DROP_POD_QUOTA;
	}
	pod_raise_top(pod, blocks.put_at + 1);
	pod->hint = blocks.put_at;
	event_block_leased(src, index);
	return N64_PASS;
}

/* A pod's first block. */
static __noinline int pod_create(const __u8 *src)
{
	struct n64_making *new = making();
	int index;

	if (!cfg.slots || !new)
		return N64_DROP_NOT_CONFIGURED;
	/* One pod with many addresses, its own or forged, must not keep those behind other interfaces from a first block. */
	if (stock_is_low() && device_is_greedy(new->request.device))
		return N64_DROP_POOL_EXHAUSTED;
	index = slots_lease(src, &new->pod.slot);
	if (index < 0)
		return N64_DROP_POOL_EXHAUSTED;
	/* All other blocks of the scratch record are never written. */
	new->pod.top = 1;
	new->pod.block[0] = index + 1;
	switch (bpf_map_update_elem(&n64_pods, src, &new->pod, BPF_NOEXIST)) {
	case 0:
		event_block_leased(src, index);
		return N64_PASS;
	case -17: /* EEXIST: another processor was first, and its block serves too */
		slot_return(new->pod.slot, index);
		return N64_PASS;
	default:
		slot_return(new->pod.slot, index);
		return N64_DROP_SESSIONS_FULL;
	}
}

/* For a pod that has sessions without a block: those of its static bindings. */
static __always_inline void pod_create_empty(const __u8 *src)
{
	struct n64_making *new = making();

	if (!new)
		return;
	new->pod.slot = new->pod.top = new->pod.block[0] = 0;
	bpf_map_update_elem(&n64_pods, src, &new->pod, BPF_NOEXIST);
}

/* A flood of flows that find no port costs so many searches in a while: the rest is refused without one. */
#define REFUSED_NS 1000000
#define REFUSED_SEARCHES 4

/* Why the pod was refused a moment ago, again and again; N64_PASS when it was not. */
static __always_inline int pod_refused(struct n64_pod *pod, __u32 protocol)
{
	barrier_var(protocol);
	if (protocol >= N64_PROTOCOLS)
		return N64_DROP_POOL_EXHAUSTED;
	if (READ_ONCE(pod->refused[protocol]) < REFUSED_SEARCHES)
		return N64_PASS;
	if (ns_since(bpf_ktime_get_ns(), pod->refused_ns[protocol]) >= REFUSED_NS)
		return N64_PASS;
	return READ_ONCE(pod->refused_for[protocol]);
}

static __always_inline void pod_refuse(struct n64_pod *pod, __u32 protocol, int reason)
{
	__u64 now = bpf_ktime_get_ns();

	barrier_var(protocol);
	if (protocol >= N64_PROTOCOLS)
		return;
	pod->refused_for[protocol] = reason;
	if (ns_since(now, pod->refused_ns[protocol]) >= REFUSED_NS) {
		pod->refused_ns[protocol] = now;
		pod->refused[protocol] = 0;
	}
	pod->refused[protocol]++;
}

/* Finds and takes a port for the (X',x) of making()->request; N64_PASS, or why there is none. */
GLOBAL int port_take(void)
{
	struct n64_making *new = making();
	struct port_request *request;
	struct n64_pod *pod;
	int reason;

	if (!new)
		return N64_DROP_POOL_EXHAUSTED;
	request = &new->request;
	for (int round = 0; round < 3; round++) {
		pod = bpf_map_lookup_elem(&n64_pods, request->src);
		if (!pod) {
			reason = pod_create(request->src);
			if (reason)
				return reason;
			continue;
		}
		reason = pod_refused(pod, request->protocol);
		if (reason)
			return reason;
		/* C-18: the source port itself if it is free. */
		if (!pod_take_port(pod, request, request->wanted) || !pod_take_port(pod, request, ANY_PORT))
			return N64_PASS;
		reason = pod_grow(pod, request->src);
		if (reason) {
			pod_refuse(pod, request->protocol, reason);
			return reason;
		}
	}
	return N64_DROP_POOL_EXHAUSTED;
}
