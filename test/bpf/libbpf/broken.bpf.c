// SPDX-License-Identifier: Apache-2.0
// Refused by the verifier: uses a lookup's result unchecked.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

SEC("tc")
int unchecked(struct __sk_buff *skb)
{
	__u32 key = skb->len;
	__u64 *value = bpf_map_lookup_elem(&numbers, &key);

	return *value;
}

char _license[] SEC("license") = "GPL";
