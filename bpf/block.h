/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A block of ports: a bit a port and protocol, taken and given back without a lock (RFC 6146 3.5.1.1).
 */
#pragma once

#include "maps.h"

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
