/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Fragments in order: the first one, which has the ports, leaves the outgoing addresses for the others (RFC 6146 3.4).
 * Checksums need no more care than that: the first fragment's field covers the whole datagram and is updated by difference.
 */
#pragma once

#include "maps.h"
#include "parse.h"

/* Fragments are rare: their keys and values are made in the processor's scratch space. */
static __noinline struct n64_making *frag_start(struct packet *p, __u32 direction)
{
	struct n64_making *new = making();

	if (!new)
		return NULL;
	__builtin_memset(&new->frag_key, 0, sizeof(new->frag_key));
	__builtin_memset(&new->frag, 0, sizeof(new->frag));
	new->frag_key.id_be = p->frag_id;
	new->frag_key.protocol = p->protocol;
	new->frag_key.direction = direction;
	return new;
}

static __noinline struct n64_making *frag_start6(struct packet *p, const __u8 *src, __be32 dst4, __u8 prefix)
{
	struct n64_making *new = frag_start(p, N64_6TO4);

	if (!new)
		return NULL;
	copy16(new->frag_key.src, src);
	new->frag_key.dst[0] = prefix;
	*(__be32 *)(new->frag_key.dst + 12) = dst4;
	return new;
}

static __noinline struct n64_making *frag_start4(struct packet *p, __be32 src, __be32 dst)
{
	struct n64_making *new = frag_start(p, N64_4TO6);

	if (!new)
		return NULL;
	*(__be32 *)(new->frag_key.src + 12) = src;
	*(__be32 *)(new->frag_key.dst + 12) = dst;
	return new;
}

/*
 * RFC 3128: the first fragment has the whole TCP header, hence 24 bytes at least; what begins before that would overwrite
 * ports or flags where it is put together.
 */
static __always_inline bool frag_overlaps_header(struct packet *p)
{
	return p->protocol == IPPROTO_TCP && p->frag_off < 3;
}

/* RFC 791 3.2, RFC 8200 4.5: no datagram is longer. Offsets of pieces would begin anew at 0. */
static __always_inline bool frag_beyond_end(struct packet *p)
{
	return p->frag_off * 8 + p->end - p->l4_off > 65535;
}

/* Where it lies: the sender's part of the table, and there by all else. */
static __always_inline __u32 frag_place(const struct n64_frag_key *key)
{
	__u32 part = hash_words(key->src, 4) >> 16 & (N64_FRAG_PARTS - 1);

	return part * N64_FRAGS_A_PART + (hash_words(key->dst, 6) >> 16 & (N64_FRAGS_A_PART - 1));
}

/* What frag_start6() or frag_start4() began in making(). */
GLOBAL int frag_remember(void)
{
	struct n64_making *new = making();
	__u32 place;

	if (!new)
		return 0;
	place = frag_place(&new->frag_key);
	new->frag.expires_ns = now_ns() + cfg.fragment_ns;
	new->frag.key = new->frag_key;
	bpf_map_update_elem(&n64_frags, &place, &new->frag, BPF_ANY);
	return 0;
}

static __noinline struct n64_frag *frag_find(struct n64_making *new)
{
	__u32 place = frag_place(&new->frag_key);
	struct n64_frag *frag = bpf_map_lookup_elem(&n64_frags, &place);
	const __u32 *a, *b;

	if (!frag || ns_since(frag->expires_ns, now_ns()) <= 0)
		return NULL;
	a = (const __u32 *)&frag->key;
	b = (const __u32 *)&new->frag_key;
	for (__u32 i = 0; i < sizeof(frag->key) / 4; i++)
		if (a[i] != b[i])
			return NULL;
	return frag;
}
