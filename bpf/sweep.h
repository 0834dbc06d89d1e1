/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Iterators that user space reads: one walks the sessions, deletes what has run out or may not be any more and writes what
 * it deleted; the other walks the blocks and takes back those that have been empty for a while.
 */
#pragma once

#include "step.h"

/* The kernel's context, as far as it is used; fields are found by BTF. */
struct seq_file;
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

/* Set before the program is loaded: blocks empty for longer are taken back. */
const volatile __u64 idle_block_ns = 60 * NSEC_PER_SEC;

/*
 * Packets judge by the coarse clock, which is behind by up to a tick and no iterator's to ask. The sweep judges later than
 * they, so that it deletes nothing that a packet still takes for alive.
 */
#define SWEEP_LATER_NS 20000000

static __noinline long record_session(struct bpf_iter__bpf_map_elem *ctx, struct n64_session_record *record)
{
	return bpf_seq_write(ctx->meta->seq, record, sizeof(*record));
}

static __noinline long record_block(struct bpf_iter__bpf_map_elem *ctx, struct n64_block_record *record)
{
	return bpf_seq_write(ctx->meta->seq, record, sizeof(*record));
}

#define SWEEP_STEP 64

static __always_inline struct n64_turn *turn_of(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&n64_turn, &zero);
}

static __noinline void walk_pause(struct bpf_iter__bpf_map_elem *ctx)
{
	struct n64_session_record none = {};

	record_session(ctx, &none);
}

/*
 * A read goes on until enough is written. An empty record now and then ends one that finds nothing to delete, so that user
 * space can pause.
 */
static __always_inline int walk_on(struct bpf_iter__bpf_map_elem *ctx)
{
	if (ctx->meta->seq_num % SWEEP_STEP == 0)
		walk_pause(ctx);
	return 0;
}

/* A session that nobody has answered is kept so many times as long as a closed one. */
#define ONE_SIDED 4

/* How long a session that may give way is kept: `limit`, or less while there is want of what it holds. */
GLOBAL __u64 closing_limit(const struct n64_flow6_key *key, __u64 limit, __u64 times)
{
	__u8 pod[16] = {};
	__u64 *closing;

	closing = bpf_map_lookup_elem(&n64_closing, pod);
	if (closing && *closing * times < limit)
		limit = *closing * times;
	if (!key)
		return limit;
	pod_of(pod, key->src);
	closing = bpf_map_lookup_elem(&n64_closing, pod);
	return closing && *closing * times < limit ? *closing * times : limit;
}

/* RFC 4787 REQ-6: what comes from outside alone keeps a session for so long after the pod was heard last. */
static __always_inline bool inbound_counts(const struct n64_flow6 *six, __u64 now, __u64 limit)
{
	if (cfg.inbound_refresh == N64_REFRESH_ALWAYS)
		return true;
	return cfg.inbound_refresh == N64_REFRESH_ONCE && !ns_after(now, six->last_ns, 2 * limit);
}

/* Of UDP and ICMP: one side has not said a word. */
static __always_inline bool is_one_sided(const struct n64_flow6 *six, const struct n64_flow4 *four)
{
	return six->state <= N64_OPEN_ICMP && (!six->packets || !four->packets);
}

/* Of UDP and ICMP, as far as is known without a look at the other entry. */
static __always_inline bool may_be_one_sided(const struct n64_flow6 *six)
{
	return six->state <= N64_OPEN_ICMP && !(six->flags & N64_FLOW_ANSWERED);
}

/*
 * Whether the policy in force refuses the session, as it would its first packet. Who has a static binding is reached from
 * outside without being on the list of sources.
 */
GLOBAL bool session_denied(const struct n64_flow6_key *key)
{
	struct n64_bib6_key bib_key = {};
	struct n64_bib6 *bib;

	if (!cfg.end_denied_sessions || !key)
		return false;
	if (policy_session(key))
		return true;
	if (source_listed(key->src))
		return false;
	copy16(bib_key.src, key->src);
	bib_key.port_be = key->sport_be;
	bib_key.protocol = key->protocol;
	bib = bpf_map_lookup_elem(&n64_bib6, &bib_key);
	return !bib || !bib->is_static;
}

/* The time of ESTABLISHED has that of TRANS in it, for sessions that nobody can probe. */
static __always_inline __u64 probe_after(void)
{
	return timeout_ns(N64_ESTABLISHED) - timeout_ns(N64_V6_INIT);
}

/*
 * Has user space probe a session of ESTABLISHED that has been silent for its time: RFC 6146 3.5.2.2 moves it to TRANS, from
 * where the answer brings it back. False: it is not silent, it is over, or it cannot be probed.
 */
static __noinline bool sweep_probe(struct bpf_iter__bpf_map_elem *ctx, struct n64_session_record *record, __u64 now,
				   __u64 limit)
{
	struct n64_turn *turn = turn_of();
	struct n64_flow4_key key4;
	struct n64_flow4 *four;

	if (!turn || !turn->probes)
		return false;
	flow4_key_of(&key4, &record->key, record->six.pool_be, record->six.port_be);
	four = bpf_map_lookup_elem(&n64_flow4, &key4);
	if (!four || !ns_after(now, four->last_ns, probe_after()))
		return false;
	if (ns_after(now, four->last_ns, limit) && ns_after(now, record->six.last_ns, limit))
		return false;
	record->four = *four;
	record->kind = N64_RECORD_PROBE;
	/* Without room the kernel shows this entry again. */
	if (record_session(ctx, record))
		return true;
	turn->probes -= 1;
	session_fall_silent(&record->key, record->six.pool_be, record->six.port_be, now);
	return true;
}

/* Looks at all that may end a session, at the policy if it is its turn, and ends it or not. */
static __noinline int sweep_look(struct bpf_iter__bpf_map_elem *ctx, __u64 now, bool judged)
{
	struct n64_session_record record = {};
	struct n64_flow6_key *key = ctx->key;
	struct n64_flow6 *six = ctx->value;
	struct n64_flow4_key key4;
	struct n64_flow4 *four;
	__u64 limit;
	bool denied;

	if (!key || !six)
		return 0;
	record.key = *key;
	denied = judged && session_denied(&record.key);
	limit = timeout_ns(six->state) + SWEEP_LATER_NS;
	if (state_is_closed(six->state))
		limit = closing_limit(&record.key, limit, 1);
	if (six->state == N64_ESTABLISHED && !denied && ns_after(now, six->last_ns, probe_after())) {
		record.six = *six;
		if (sweep_probe(ctx, &record, now, limit))
			return 0;
	}
	/* Most are alive, and a look at the other entry costs more than all else here: only what may be over takes it. */
	if (!denied && !ns_after(now, six->last_ns, limit) &&
	    (!may_be_one_sided(six) || !ns_after(now, six->last_ns, closing_limit(&record.key, limit, ONE_SIDED))))
		return walk_on(ctx);
	record.six = *six;
	flow4_key_of(&key4, &record.key, record.six.pool_be, record.six.port_be);
	four = bpf_map_lookup_elem(&n64_flow4, &key4);
	if (four) {
		record.four = *four;
		if (is_one_sided(&record.six, &record.four))
			limit = closing_limit(&record.key, limit, ONE_SIDED);
		else if (may_be_one_sided(&record.six))
			note_answered(six);
		if (!denied && !ns_after(now, four->last_ns, limit) && inbound_counts(&record.six, now, limit))
			return walk_on(ctx);
	}
	if (!denied && !ns_after(now, record.six.last_ns, limit))
		return walk_on(ctx);
	/* Written first: when the buffer is full the kernel shows this entry again, and it must still be there. */
	if (record_session(ctx, &record))
		return 0;
	session_delete(&record.key, record.six.pool_be, record.six.port_be);
	return 0;
}

/*
 * Whether it is the session's turn to be judged: always while user space says that the policy may have changed. One to
 * another pod depends on that one's binding, too, which comes and goes unsaid.
 */
static __always_inline bool is_judged(const struct n64_turn *turn, const struct n64_flow6_key *key,
				      const struct n64_flow6 *six)
{
	if (!cfg.end_denied_sessions)
		return false;
	return !turn->share || six->flags & N64_FLOW_HAIRPIN ||
	       turn->share == 1 + bpf_ntohs(key->sport_be) % N64_SHARES;
}

/* Most sessions are this, which asks no other table: they have been heard within their time, and nothing shortens it. */
static __always_inline bool is_plainly_alive(const struct n64_turn *turn, const struct n64_flow6 *six)
{
	__u8 state = six->state;

	if (ns_after(turn->now_ns, six->last_ns, state == N64_ESTABLISHED ? probe_after() : timeout_ns(state)))
		return false;
	return turn->none_closing || !(state_is_closed(state) || may_be_one_sided(six));
}

static __always_inline int sweep_session(struct bpf_iter__bpf_map_elem *ctx)
{
	struct n64_flow6_key *key = ctx->key;
	struct n64_flow6 *six = ctx->value;
	struct n64_turn *turn = turn_of();
	bool judged;

	if (!key || !six || !turn)
		return 0;
	/* What is behind ends nothing early. */
	if (!turn->now_ns || ctx->meta->seq_num % SWEEP_STEP == 0)
		turn->now_ns = bpf_ktime_get_ns();
	judged = is_judged(turn, key, six);
	if (!judged && is_plainly_alive(turn, six))
		return walk_on(ctx);
	return sweep_look(ctx, turn->now_ns, judged);
}

static long pod_forget_block(__u32 index, struct pod_blocks *blocks)
{
	struct n64_pod *pod = blocks->pod;

	if (!pod || index >= N64_MAX_BLOCKS_PER_POD)
		return 1;
	__sync_val_compare_and_swap(&pod->block[index], blocks->block, 0);
	blocks->held += READ_ONCE(pod->block[index]) != 0;
	return 0;
}

static __noinline void pod_forget(const __u8 *holder, __u32 index)
{
	struct n64_pod *pod = bpf_map_lookup_elem(&n64_pods, holder);
	struct pod_blocks blocks = { .pod = pod, .block = index + 1 };
	__u32 top;

	if (!pod)
		return;
	top = READ_ONCE(pod->top);
	bpf_loop(top, pod_forget_block, &blocks, 0);
	if (blocks.held)
		return;
	/* Sessions of static bindings need no block. */
	if ((__s32)READ_ONCE(pod->sessions) > 0)
		__sync_val_compare_and_swap(&pod->top, top, 0);
	else
		bpf_map_delete_elem(&n64_pods, holder);
}

/* Who opens connections all the time has a use for a block within so long; it rests when it has gone back. */
#define IDLE_LEAST_NS (10 * NSEC_PER_SEC)

/* Whether a pod holds more blocks than it has sessions: it is gone, or had a use for them once. Its last one is no spare. */
static __noinline bool pod_has_spare(const __u8 *holder)
{
	struct n64_pod *pod = bpf_map_lookup_elem(&n64_pods, holder);
	struct pod_blocks blocks = { .pod = pod };

	if (!pod)
		return false;
	/* Of none: only counts. */
	bpf_loop(READ_ONCE(pod->top), pod_forget_block, &blocks, 0);
	return blocks.held > 1 && (__s32)READ_ONCE(pod->sessions) < (__s32)blocks.held;
}

/* How long a pod keeps a block that it uses nothing of: less while everybody's closed sessions give way sooner. */
static __always_inline __u64 idle_limit(const __u8 *holder)
{
	__u8 everybody[16] = {};
	__u64 *closing = bpf_map_lookup_elem(&n64_closing, everybody), limit;

	if (!closing)
		return idle_block_ns;
	limit = *closing;
	if (limit < IDLE_LEAST_NS && !pod_has_spare(holder))
		limit = IDLE_LEAST_NS;
	return limit < idle_block_ns ? limit : idle_block_ns;
}

static __always_inline int reclaim_block(struct bpf_iter__bpf_map_elem *ctx)
{
	struct n64_block_record record = {};
	__u32 *key = ctx->key, index;
	struct n64_block *block;
	__u64 now = bpf_ktime_get_ns();

	if (!key)
		return 0;
	index = *key;
	block = bpf_map_lookup_elem(&n64_blocks, &index);
	if (!block || block->state != N64_BLOCK_LEASED || block->used)
		return 0;
	copy16(record.holder, block->holder);
	if (ns_since(now, block->emptied_ns) < (__s64)idle_limit(record.holder))
		return 0;
	record.index = index;
	record.leased_ns = block->leased_ns;
	if (record_block(ctx, &record))
		return 0;
	/* From here on nobody can allocate in it; who tries meanwhile backs out. */
	if (__sync_val_compare_and_swap(&block->used, 0, N64_BLOCK_CLOSED))
		return 0;
	pod_forget(record.holder, index);
	device_return(block);
	WRITE_ONCE(block->state, N64_BLOCK_RESTING);
	__sync_fetch_and_and(&block->used, ~N64_BLOCK_CLOSED);
	return 0;
}
