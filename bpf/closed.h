/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Closed connections give way where a pod finds no port or may have no more sessions, the oldest first. The sweep makes room
 * before that (src/nat64/pressure.ts); this is for when there is none: no service runs, or it is late.
 */
#pragma once

#include "step.h"

/* Pods share one by a hash of theirs. */
#define CLOSED_RING_BITS 7
/* Later ones take the place of the oldest: at 500 a second those of two seconds. */
#define CLOSED_ROOM 1024
/* Looks for one packet: others' connections, and those that have gone otherwise, are passed over. */
#define CLOSED_TRIES 16
/* In some 2^20 ns: segments that are on their way when a connection closes have arrived by then. */
#define CLOSED_LEAST 2000
#define CLOSED_SHIFT 20

struct closed_entry {
	struct n64_flow6_key key;
	/* When it closed. */
	__u32 at;
};

struct closed_ring {
	/* How many have come, and how many were looked at. */
	__u32 head;
	__u32 tail;
	struct closed_entry entry[CLOSED_ROOM];
};

/* Not pinned: what is lost with a program is found by the sweep. */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_closed, struct closed_ring, 1 << CLOSED_RING_BITS);

static __always_inline struct closed_ring *closed_ring_of(const __u8 *src)
{
	__u8 pod[16];
	__u32 at;

	pod_of(pod, src);
	at = hash_words(pod, 4) >> (32 - CLOSED_RING_BITS);
	return bpf_map_lookup_elem(&n64_closed, &at);
}

/* Two processors may write one place: what is read there is looked up before it is believed. */
GLOBAL int closed_note(const struct n64_flow6_key *key6)
{
	struct closed_ring *ring;
	__u32 at;

	if (!key6)
		return 0;
	ring = closed_ring_of(key6->src);
	if (!ring)
		return 0;
	at = __sync_fetch_and_add(&ring->head, 1) & (CLOSED_ROOM - 1);
	ring->entry[at].key = *key6;
	WRITE_ONCE(ring->entry[at].at, (__u32)(now_ns() >> CLOSED_SHIFT));
	return 0;
}

struct closed_search {
	struct closed_ring *ring;
	struct n64_flow6_key key;
	__u8 pod[16];
	bool found;
};

static long closed_try(__u32 index __attribute__((unused)), struct closed_search *search)
{
	struct closed_ring *ring = search->ring;
	struct n64_bib6_key bib = {};
	__u32 tail, next, age;
	struct n64_flow6 *six;
	__u8 pod[16];

	if (!ring)
		return 1;
	tail = READ_ONCE(ring->tail);
	next = READ_ONCE(ring->head) - tail > CLOSED_ROOM ? READ_ONCE(ring->head) - CLOSED_ROOM : tail;
	if (next == READ_ONCE(ring->head))
		return 1;
	age = (__u32)(now_ns() >> CLOSED_SHIFT) - READ_ONCE(ring->entry[next & (CLOSED_ROOM - 1)].at);
	/* Those after it are younger still. */
	if (age < CLOSED_LEAST)
		return 1;
	if (__sync_val_compare_and_swap(&ring->tail, tail, next + 1) != tail)
		return 0;
	search->key = ring->entry[next & (CLOSED_ROOM - 1)].key;
	pod_of(pod, search->key.src);
	if (!equal16(pod, search->pod))
		return 0;
	six = bpf_map_lookup_elem(&n64_flow6, &search->key);
	/* Its key may be another connection's by now. */
	if (!six || !state_is_closed(six->state))
		return 0;
	session_delete(&search->key, six->pool_be, six->port_be);
	search->found = true;
	/* A port serves connections to many, and is free when the last of them has ended. */
	copy16(bib.src, search->key.src);
	bib.port_be = search->key.sport_be;
	bib.protocol = search->key.protocol;
	return !bpf_map_lookup_elem(&n64_bib6, &bib);
}

/*
 * Ends the pod's connection that closed first, and more of them until a port is free, of those that closed two seconds ago
 * or earlier. Whether there was any.
 */
GLOBAL bool closed_give_way(const struct n64_flow6_key *wanted)
{
	struct closed_search search = {};
	struct n64_pod *pod;

	if (!wanted)
		return false;
	search.ring = closed_ring_of(wanted->src);
	pod_of(search.pod, wanted->src);
	bpf_loop(CLOSED_TRIES, closed_try, &search, 0);
	if (!search.found)
		return false;
	/* It is not refused without a search now. */
	pod = bpf_map_lookup_elem(&n64_pods, search.pod);
	if (pod)
		pod->refused[N64_TCP] = 0;
	return true;
}
