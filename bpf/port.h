/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Port blocks. User space cuts the pool into blocks and queues the free ones; here a pod takes a block when it first needs
 * one and its ports are searched inside its blocks alone, by bit operations, without a lock (RFC 6146 3.5.1.1,
 * RFC 6888 REQ-2: one pool address a pod).
 */
#pragma once

#include "events.h"

#define ANY_PORT 0x10000u

/* Without branches, which the verifier would have to follow. Of 0 it is 64. */
static __always_inline __u32 lowest_bit(__u64 v)
{
	v = (v & -v) - 1;
	v -= v >> 1 & 0x5555555555555555ull;
	v = (v & 0x3333333333333333ull) + (v >> 2 & 0x3333333333333333ull);
	v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return v * 0x0101010101010101ull >> 56;
}

/* Takes one bit; false when somebody has it. */
static __always_inline bool bit_take(struct n64_block *block, __u32 protocol, __u32 at)
{
	__u64 mask = 1ull << (at & 63);
	__u32 word = (at >> 6) & (N64_BLOCK_WORDS - 1);

	barrier_var(protocol);
	if (protocol >= N64_PROTOCOLS)
		return false;
	return !(__sync_fetch_and_or(&block->bits[protocol][word], mask) & mask);
}

/* Counts one user into the block; false when it is being taken back. */
static __always_inline bool block_enter(struct n64_block *block)
{
	if (__sync_fetch_and_add(&block->used, 1) & N64_BLOCK_CLOSED) {
		__sync_fetch_and_sub(&block->used, 1);
		return false;
	}
	return true;
}

static __always_inline void block_leave(struct n64_block *block)
{
	if (__sync_fetch_and_sub(&block->used, 1) == 1)
		block->emptied_ns = bpf_ktime_get_ns();
}

/* Its address if that is of the pool still: new flows of one that has left would find no way back. */
static __always_inline struct n64_pool_address *block_address(struct n64_block *block)
{
	__be32 address = block->pool_be;
	struct n64_pool_address *pool = bpf_map_lookup_elem(&n64_pool, &address);

	return pool && !pool->draining ? pool : NULL;
}

struct port_search {
	struct n64_block *block;
	__u32 protocol;
	__u32 start;
	int found;
};

/* RFC 6056, RFC 7857 9: a random free port, from a random word on. */
static long port_search_word(__u32 index, struct port_search *search)
{
	struct n64_block *block = search->block;
	__u32 words, word, first, turn, at, protocol = READ_ONCE(search->protocol);
	__u64 valid = ~0ull, available, turned;

	if (!block)
		return 1;
	words = (block->size + 63) >> 6;
	if (index >= words)
		return 1;
	word = search->start + index;
	if (word >= words)
		word -= words;
	word &= N64_BLOCK_WORDS - 1;
	first = word << 6;
	if (block->size - first < 64)
		valid = (1ull << (block->size - first)) - 1;
	/* The register that is checked must be the one that is used. */
	barrier_var(protocol);
	if (protocol >= N64_PROTOCOLS)
		return 1;
	/* Two processors may aim at the same bit: a few tries, then the next word. */
	for (int try = 0; try < 4; try++) {
		available = valid & ~block->bits[protocol][word];
		if (!available)
			return 0;
		turn = bpf_get_prandom_u32() & 63;
		turned = available >> turn | available << (-turn & 63);
		at = first + ((lowest_bit(turned) + turn) & 63);
		if (bit_take(block, protocol, at)) {
			search->found = at;
			return 1;
		}
	}
	return 0;
}

static __always_inline int block_search(struct n64_block *block, __u32 protocol)
{
	struct port_search search = { .block = block, .protocol = protocol, .found = -1 };
	__u32 words = (block->size + 63) >> 6;

	search.start = words ? bpf_get_prandom_u32() % words : 0;
	bpf_loop(N64_BLOCK_WORDS, port_search_word, &search, 0);
	return search.found;
}

/*
 * The port `wanted` if it lies in the block and is free, or any if `wanted` is ANY_PORT; negative when there is none.
 */
GLOBAL int block_take_port(__u32 index, __u32 protocol, __u32 wanted)
{
	struct n64_block *block = bpf_map_lookup_elem(&n64_blocks, &index);
	__u32 at;
	int found = -1;

	if (!block)
		return -1;
	at = wanted - block->first_port;
	if (wanted != ANY_PORT && (wanted < block->first_port || at >= block->size))
		return -1;
	if (!block_address(block))
		return -1;
	if (!block_enter(block))
		return -1;
	/* Taken back between the look at the pod and here: it is nobody's now. */
	if (READ_ONCE(block->state) != N64_BLOCK_LEASED)
		found = -1;
	else if (wanted == ANY_PORT)
		found = block_search(block, protocol);
	else if (bit_take(block, protocol, at))
		found = at;
	if (found < 0) {
		block_leave(block);
		return -1;
	}
	return block->first_port + found;
}

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

static __always_inline void stock_count(__s64 leased)
{
	__u32 which = N64_STOCK_LEASED;
	__u64 *count = bpf_map_lookup_elem(&n64_stock, &which);

	if (count)
		__sync_fetch_and_add(count, leased);
}

/* Whether what is left is for pods that hold nothing: one that wants ever more must not keep the others from a first block. */
static __always_inline bool stock_is_low(void)
{
	__u32 offered = N64_STOCK_OFFERED, leased = N64_STOCK_LEASED;
	__u64 *in, *out;

	if (!cfg.reserved_blocks)
		return false;
	in = bpf_map_lookup_elem(&n64_stock, &offered);
	out = bpf_map_lookup_elem(&n64_stock, &leased);
	return in && out && (__s64)(READ_ONCE(*in) - READ_ONCE(*out)) <= (__s64)cfg.reserved_blocks;
}

/* Takes the next free block of a pool address for the pod: its record, and the word to user space. */
static __noinline int slot_lease(__u32 slot, const __u8 *src)
{
	struct n64_block *block;
	void *queue;
	__u32 index;

	queue = bpf_map_lookup_elem(&n64_free, &slot);
	if (!queue || bpf_map_pop_elem(queue, &index))
		return -1;
	block = bpf_map_lookup_elem(&n64_blocks, &index);
	if (!block)
		return -1;
	stock_count(1);
	block->leased_ns = bpf_ktime_get_ns();
	block->emptied_ns = block->leased_ns;
	copy16(block->holder, src);
	WRITE_ONCE(block->state, N64_BLOCK_LEASED);
	return index;
}

static __always_inline void slot_return(__u32 slot, __u32 index)
{
	struct n64_block *block = bpf_map_lookup_elem(&n64_blocks, &index);
	void *queue = bpf_map_lookup_elem(&n64_free, &slot);

	if (!block || !queue)
		return;
	WRITE_ONCE(block->state, N64_BLOCK_OFFERED);
	bpf_map_push_elem(queue, &index, 0);
	stock_count(-1);
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

struct slot_search {
	const __u8 *src;
	__u32 first;
	/* Out: a block and the slot it is of; negative when there is none. */
	__u32 slot;
	int block;
};

static long slot_search_step(__u32 index, struct slot_search *search)
{
	__u32 slot = search->first + index;

	if (slot >= cfg.slots)
		slot -= cfg.slots;
	search->slot = slot;
	search->block = slot_lease(slot, search->src);
	return search->block >= 0;
}

/* Every bit of `h` moves about half of the result's. */
static __always_inline __u32 scatter(__u32 h)
{
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

/*
 * The slot that a pod's address points at. Pods of a node differ in the last bits alone and follow one another: steps of
 * the golden ratio lay them out evenly over any number of slots, where a hash would leave some empty. What is above those
 * bits is scattered. The upper end of the product decides, which every bit below reaches.
 */
static __always_inline __u32 slot_of(const __u8 *src)
{
	const __be32 *word = (const __be32 *)src;
	__u32 where = scatter(scatter(scatter(bpf_ntohl(word[0])) + bpf_ntohl(word[1])) + bpf_ntohl(word[2]));

	where += bpf_ntohl(word[3]) * 0x9e3779b1u;
	return (__u64)where * cfg.slots >> 32;
}

/* A block of any address, from the one on that the pod's own address points at: none is refused while one has a block. */
static __noinline int slots_lease(const __u8 *src, __u32 *slot)
{
	struct slot_search search = { .src = src, .first = slot_of(src), .block = -1 };

	bpf_loop(cfg.slots, slot_search_step, &search, 0);
	*slot = search.slot;
	return search.block;
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

/* The port is another's: its bit stays, the block does without this user. */
static __always_inline void port_pass_over(__u32 index)
{
	struct n64_block *block = bpf_map_lookup_elem(&n64_blocks, &index);

	if (block)
		block_leave(block);
}

static __always_inline void port_release(__u32 index, __u32 protocol, __u16 port)
{
	struct n64_block *block = bpf_map_lookup_elem(&n64_blocks, &index);
	__u32 at;

	if (!block || protocol >= N64_PROTOCOLS)
		return;
	at = (__u32)port - block->first_port;
	__sync_fetch_and_and(&block->bits[protocol][(at >> 6) & (N64_BLOCK_WORDS - 1)], ~(1ull << (at & 63)));
	block_leave(block);
}
