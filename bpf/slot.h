/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Free blocks: a queue a pool address, which user space fills; which address serves a pod, and what is kept for those that
 * have none.
 */
#pragma once

#include "block.h"

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

static __always_inline void device_add(__u32 device)
{
	__u32 one = 1;
	__u32 *held = bpf_map_lookup_elem(&n64_devices, &device);

	if (held)
		__sync_fetch_and_add(held, 1);
	else
		bpf_map_update_elem(&n64_devices, &device, &one, BPF_ANY);
}

/* An interface that holds none is forgotten: pods come and go with theirs. */
static __always_inline void device_subtract(__u32 device)
{
	__u32 *held = bpf_map_lookup_elem(&n64_devices, &device);

	if (held && __sync_fetch_and_sub(held, 1) <= 1)
		bpf_map_delete_elem(&n64_devices, &device);
}

/* Whether those behind one interface hold more than half of all that is leased. */
static __always_inline bool device_is_greedy(__u32 device)
{
	__u32 all = N64_ALL_DEVICES;
	__u32 *held = bpf_map_lookup_elem(&n64_devices, &device);
	__u32 *total = bpf_map_lookup_elem(&n64_devices, &all);

	return device && held && total && (__u64)READ_ONCE(*held) * 2 > READ_ONCE(*total);
}

static __always_inline void device_lease(struct n64_block *block)
{
	struct n64_making *new = making();

	block->device = new ? new->request.device : 0;
	device_add(block->device);
	device_add(N64_ALL_DEVICES);
}

static __always_inline void device_return(struct n64_block *block)
{
	device_subtract(block->device);
	device_subtract(N64_ALL_DEVICES);
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
	device_lease(block);
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
	device_return(block);
	bpf_map_push_elem(queue, &index, 0);
	stock_count(-1);
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
