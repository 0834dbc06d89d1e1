/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps of dns.bpf.c. User space fills them; the program writes counts alone. */
#pragma once

#include "common.h"
#include "dns_types.h"
#include "map_kinds.h"

HASH_MAP(n64_dns_answers, struct n64_dns_question, struct n64_dns_answer, 4096);
ARRAY_MAP(BPF_MAP_TYPE_ARRAY, n64_dns_state, struct n64_dns_state, 1);
ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_dns_counts, __u64, N64_DNS_COUNTS);

/* Who is forgotten here asks user space once more. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct n64_dns_told);
	__type(value, __u8);
} n64_dns_told SEC(".maps");

/* Too large for the stack. Programs of one processor do not interrupt one another here. */
struct dns_scratch {
	struct n64_dns_question question;
	__u8 tail[N64_DNS_TAIL_OCTETS];
};
ARRAY_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, n64_dns_scratch, struct dns_scratch, 1);

static __always_inline struct dns_scratch *dns_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&n64_dns_scratch, &zero);
}

static __always_inline void dns_count(__u32 index)
{
	__u64 *count = bpf_map_lookup_elem(&n64_dns_counts, &index);

	if (count)
		(*count)++;
}
