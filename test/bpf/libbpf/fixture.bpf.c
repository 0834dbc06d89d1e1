// SPDX-License-Identifier: Apache-2.0
// Fixture of the libbpf binding's tests: a bit of everything it can use.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct config {
	__u32 first;
	__u32 mark;
};

struct key {
	__u32 id;
	__u32 pad;
};

struct value {
	__u64 count;
	__u64 extra;
};

struct event {
	__u32 length;
	__u32 sequence;
};

const volatile struct config cfg = { .first = 7, .mark = 0 };
const volatile __u64 limit = 5;
__u32 start = 40;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, struct value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8);
	__type(value, __u64);
} leases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} outer SEC(".maps");

SEC("tc")
int count(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u32 *seen = bpf_map_lookup_elem(&stats, &zero);

	if (seen)
		*seen += 1;
	skb->mark = cfg.mark;
	return TC_ACT_UNSPEC;
}

/* Not the same slot as count, so that a test sees which one ran. */
SEC("tc")
int count_second(struct __sk_buff *skb)
{
	__u32 one = 1;
	__u32 *seen = bpf_map_lookup_elem(&stats, &one);

	if (seen)
		*seen += 1;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int drop_all(struct __sk_buff *skb)
{
	__u32 two = 2;
	__u32 *seen = bpf_map_lookup_elem(&stats, &two);

	if (seen)
		*seen += 1;
	return TC_ACT_SHOT;
}

SEC("tc")
int notify(struct __sk_buff *skb)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return 1;
	event->length = skb->len;
	event->sequence = __sync_fetch_and_add(&start, 1);
	/* The record after is thrown away: a reader has to step over it. */
	bpf_ringbuf_submit(event, 0);
	event = bpf_ringbuf_reserve(&events, 24, 0);
	if (event)
		bpf_ringbuf_discard(event, 0);
	return 0;
}

SEC("tc")
int lease(struct __sk_buff *skb)
{
	__u64 value = 0;

	if (bpf_map_pop_elem(&leases, &value))
		return -1;
	return value;
}

SEC("tc")
int inner_get(struct __sk_buff *skb)
{
	__u32 key = 1;
	__u64 *value;
	void *inner = bpf_map_lookup_elem(&outer, &key);

	if (!inner)
		return 100;
	value = bpf_map_lookup_elem(inner, &key);
	return value ? *value : 101;
}

SEC("tc")
int swap_macs(struct __sk_buff *skb)
{
	__u8 macs[12], swapped[12];
	int i;

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return 2;
#pragma unroll
	for (i = 0; i < 12; i++)
		swapped[i] = macs[(i + 6) % 12];
	if (bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0))
		return 2;
	return cfg.first + limit;
}

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));

SEC("iter/bpf_map_elem")
int dump_flows(struct bpf_iter__bpf_map_elem *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct key *key = ctx->key;
	struct value *value = ctx->value;

	if (!key || !value)
		return 0;
	struct {
		struct key key;
		struct value value;
	} record = { *key, *value };

	bpf_seq_write(seq, &record, sizeof(record));
	return 0;
}

char _license[] SEC("license") = "GPL";
