/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What user space is told, and what is counted for it. */
#pragma once

#include "maps.h"
#include "watch.h"

static __noinline void event_fill(struct n64_event *event, const __u8 *holder, __u32 block)
{
	event->at_ns = bpf_ktime_get_ns();
	event->type = N64_EVENT_BLOCK_LEASED;
	event->block = block;
	copy16(event->holder, holder);
}

static __always_inline void event_block_leased(const __u8 *holder, __u32 block)
{
	struct n64_event *event = bpf_ringbuf_reserve(&n64_events, sizeof(*event), 0);

	watch_leased(block);
	/* A full ring loses the event, not the lease: the block's record says who holds it. */
	if (!event)
		return;
	event_fill(event, holder, block);
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void count_packet(__u32 direction, __u32 protocol, __u32 packets, __u32 bytes)
{
	__u32 index = direction * N64_PROTOCOLS + protocol;
	struct n64_counter *counter = bpf_map_lookup_elem(&n64_packets, &index);

	if (counter) {
		counter->packets += packets;
		counter->bytes += bytes;
	}
}

static __always_inline void count_live(__u32 kind, __u32 protocol, __s64 change)
{
	__u32 index = kind * N64_PROTOCOLS + protocol;
	__s64 *live = bpf_map_lookup_elem(&n64_live, &index);

	/* Atomic, since an iterator may be interrupted by a packet on the same processor. */
	if (live)
		__sync_fetch_and_add(live, change);
}

/*
 * The one sink of refused packets: counts the reason, keeps the packet's addresses as its latest sample. The sample is
 * read from the packet itself, so it must be called before any rewriting.
 */
GLOBAL int drop(struct __sk_buff *skb, __u32 reason, __u32 direction)
{
	__u32 index = reason * N64_DIRECTIONS + (direction & 1);
	struct n64_drop_sample *sample;
	__u64 *count;

	count = bpf_map_lookup_elem(&n64_drops, &index);
	if (count)
		*count += 1;
	sample = bpf_map_lookup_elem(&n64_drop_last, &index);
	if (sample)
		sample_fill(skb, sample);
	watch_drop(skb, reason, direction);
	return TC_ACT_SHOT;
}
