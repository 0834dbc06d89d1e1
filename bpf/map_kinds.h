/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How maps are declared. Hash tables and tries take memory for what is in them. */
#pragma once

#include <bpf/bpf_helpers.h>

#define HASH_MAP(name_, key_, value_, entries_)       \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_HASH);      \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__uint(max_entries, entries_);        \
		__type(key, key_);                    \
		__type(value, value_);                \
	} name_ SEC(".maps")

#define LPM_MAP(name_, key_, value_, entries_)        \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);  \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__uint(max_entries, entries_);        \
		__type(key, key_);                    \
		__type(value, value_);                \
	} name_ SEC(".maps")

#define ARRAY_MAP(type_, name_, value_, entries_) \
	struct {                                  \
		__uint(type, type_);              \
		__uint(max_entries, entries_);    \
		__type(key, __u32);               \
		__type(value, value_);            \
	} name_ SEC(".maps")
