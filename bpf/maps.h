/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * All maps. Hash tables are not preallocated: a node pays for the sessions it has. Whoever holds an entry while it is
 * deleted may find another one in its place at once, preallocated or not (Linux 6.18): what is read there is a guess. A
 * full table refuses new flows, it evicts none (RFC 6888 REQ-11).
 * max_entries of the session and binding tables are set before loading from nat64.maxSessions.
 */
#pragma once

#include "config.h"
#include "map_kinds.h"

/* Errors: a family each, and sizes apart. Fragments that are handed over: a direction each. */
#define N64_RATE_HANDED 4
#define N64_RATE_KINDS 6
/* Who shares a bucket shares its errors. */
#define N64_RATE_BITS 8
#define N64_RATE_SOURCES (1 << N64_RATE_BITS)

HASH_MAP(n64_flow6, struct n64_flow6_key, struct n64_flow6, 1048576);
HASH_MAP(n64_flow4, struct n64_flow4_key, struct n64_flow4, 1048576);
HASH_MAP(n64_bib6, struct n64_bib6_key, struct n64_bib6, 1048576);
HASH_MAP(n64_bib4, struct n64_bib4_key, struct n64_bib4, 1048576);
HASH_MAP(n64_peer, struct n64_peer_key, struct n64_peer, 1048576);
HASH_MAP(n64_pods, __u8[16], struct n64_pod, 16384);
HASH_MAP(n64_pool, __u32, struct n64_pool_address, N64_MAX_SLOTS);

/*
 * Fragments live for two seconds and are capped apart, so that a flood of them starves nothing else (RFC 6146 3.4). A place
 * is given by a hash, and who comes later takes it: whoever floods takes places of their own part alone.
 */
HASH_MAP(n64_frags, __u32, struct n64_frag, N64_FRAG_PARTS *N64_FRAGS_A_PART);

/* Datagrams that user space has put together (held.h); it writes an entry before it sends the fragments, and deletes it. */
HASH_MAP(n64_hold, struct n64_frag_key, struct n64_hold, 4096);

LPM_MAP(n64_dst4, struct n64_lpm4_key, __u32, 16384);
LPM_MAP(n64_src6, struct n64_lpm6_key, __u32, 4096);

/* IPv4 addresses that DNS64 has handed out, and until when that counts; every gate64 of the node writes it. */
HASH_MAP(n64_admitted, __be32, __u64, 65536);

ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_blocks, struct n64_block, 16384);
/* Blocks held by whom packets of an interface are from. */
HASH_MAP(n64_devices, __u32, __u32, 4096);
/* The difference is what the queues hold, which cannot be asked. */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_stock, __u64, N64_STOCK_COUNTS);
ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_packets, struct n64_counter, N64_DIRECTIONS *N64_PROTOCOLS);
ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_live, __s64, N64_LIVE_KINDS *N64_PROTOCOLS);
/* Of those packets, the ones that went by the accelerator. */
ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_accelerated, struct n64_counter, N64_DIRECTIONS);
/* Interfaces that have the accelerator's program, for who looks for it later. */
HASH_MAP(n64_pod_devices, __u32, __u32, N64_MAX_POD_DEVICES);
/* How many static bindings there are, a protocol; user space makes them and counts them. */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_statics, __u32, N64_PROTOCOLS);
/* What the loaded programs have as cfg, for who reads while the service is down. */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_current, struct n64_config, 1);
ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_drops, __u64, N64_DROP_MAX *N64_DIRECTIONS);
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_drop_last, struct n64_drop_sample, N64_DROP_MAX *N64_DIRECTIONS);
/* A bucket a kind, and N64_RATE_SOURCES below each: errors by whom they are for, fragments by whom they are of. */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_rate, struct n64_rate, N64_RATE_KINDS);
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_rate_source, struct n64_rate, N64_RATE_KINDS *N64_RATE_SOURCES);
/* SYNs that nobody asked for: a bucket for each of N64_RATE_SOURCES senders, then one for all. Not pinned. */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_rate_syn, struct n64_rate, N64_RATE_SOURCES + 1);

/* A memory of what can be learned again (accel_way.h), and so the one table that may evict. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u8[16]);
	__type(value, struct n64_pod_way);
} n64_pod_ways SEC(".maps");

/* By a hash of the next hop (egress.h). */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_silences, struct n64_silence, 256);

/*
 * Shorter lives for closed TCP sessions, in nanoseconds, by pod; those of the address :: are everybody's. User space writes
 * them while ports or sessions run short; the sweep alone reads them.
 */
HASH_MAP(n64_closing, __u8[16], __u64, 16384);

/* Not pinned: what one process has said another has not, and programs that are loaded anew judge anew. */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_turn, struct n64_turn, 1);

/* One queue of free blocks a pool address. TypeScript fills it; the first packet of a pod that needs one takes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, N64_MAX_SLOTS);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_QUEUE);
			__uint(max_entries, 4096);
			__uint(key_size, 0);
			__uint(value_size, sizeof(__u32));
		});
} n64_free SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} n64_events SEC(".maps");

/* For a monitor: what it asks for, what it is told, and how much found no room in the ring. */
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_watching, struct n64_watching, 1);
ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_watch_lost, __u64, 1);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} n64_watch SEC(".maps");

/* More than lies before the transport checksum's start. */
#define PARTIAL_MOVED 128

/* What bib_create asks for, and what it gets. */
struct port_request {
	/* in */
	__u8 src[16];
	__u32 protocol;
	/* What the packet came in by. */
	__u32 device;
	__u16 wanted;
	/* out */
	__u16 port;
	__u32 pool_be;
	__u32 block;
};

/*
 * Values under construction, which are more than the stack has room for. A processor makes one session at a time; what a
 * function takes from here it has written into a map before it returns.
 */
struct n64_making {
	struct n64_flow6 six;
	struct n64_flow4 four;
	struct n64_pod pod;
	struct n64_frag_key frag_key;
	struct n64_frag frag;
	struct port_request request;
	struct n64_bib6 bib6;
	struct n64_flow6_key key6;
	struct n64_bib6_key bib6_key;
	/* What the ring gets. */
	struct n64_watched_drop told;
	struct n64_watched_session begun;
	struct n64_watched_lease leased;
	struct n64_pod_way pod_way;
	/* Bytes of a packet that step aside (partial.h). */
	__u8 moved[PARTIAL_MOVED];
};

ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_making, struct n64_making, 1);

static __always_inline struct n64_making *making(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&n64_making, &zero);
}
