/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a segment does to the state of its session, in both entries, while others may do the same (RFC 6146 3.5.2.2). */
#pragma once

#include "session.h"

/* The four bytes of an entry that the state stands in; of the rest of them nothing changes while the entry lives. */
static __always_inline __u32 *state_word6(struct n64_flow6 *six)
{
	return (__u32 *)(void *)&six->port_be;
}

static __always_inline __u32 *state_word4(struct n64_flow4 *four)
{
	return (__u32 *)(void *)&four->port_be;
}

/* Both have the state in their third byte; the IPv6 entry's flags follow it. */
#define STATE_SHIFT (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 16 : 8)
#define FLAGS_SHIFT (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 24 : 0)

static __always_inline __u8 state_of(__u32 word)
{
	return word >> STATE_SHIFT;
}

static __always_inline __u32 with_state(__u32 word, __u8 state)
{
	return (word & ~(0xffu << STATE_SHIFT)) | (__u32)state << STATE_SHIFT;
}

/* Both sides have spoken. An atomic OR: where the entry has just become another's nothing else of it changes. */
static __always_inline void note_answered(struct n64_flow6 *six)
{
	__sync_fetch_and_or(state_word6(six), (__u32)N64_FLOW_ANSWERED << FLAGS_SHIFT);
}

/* Both ends have said that they are done, or one that it knows of no connection (RFC 7857 2.1, 2.2). */
static __always_inline bool state_is_closed(__u8 state)
{
	return state == N64_BOTH_FIN_RCV || state == N64_TRANS;
}

/* closed.h: it may give way from now on. */
int closed_note(const struct n64_flow6_key *key6);

/* One try to make the step from where the state is; false: somebody else moved it meanwhile. */
static __always_inline bool state_move(struct n64_flow6 *six, __u32 direction, __u32 event, struct tcp_step *step)
{
	__u32 old = READ_ONCE(*state_word6(six));

	*step = tcp_step(state_of(old), direction, event);
	return step->state == state_of(old) ||
	       __sync_val_compare_and_swap(state_word6(six), old, with_state(old, step->state)) == old;
}

/*
 * One try to give the other entry the same state; false: one of them has changed meanwhile. Whoever writes last has read
 * last; a plain store could be seen by others only after the look that follows it.
 */
static __always_inline bool state_follow(struct n64_flow6 *six, struct n64_flow4 *four)
{
	__u32 seen = state_of(READ_ONCE(*state_word6(six)));
	__u32 old = READ_ONCE(*state_word4(four));

	return __sync_val_compare_and_swap(state_word4(four), old, with_state(old, seen)) == old &&
	       seen == state_of(READ_ONCE(*state_word6(six)));
}

/* Four tries; no loop, as in session_step(). */
static __always_inline void states_agree(struct n64_flow6 *six, struct n64_flow4 *four)
{
	if (!state_follow(six, four) && !state_follow(six, four) && !state_follow(six, four))
		state_follow(six, four);
}

/*
 * A TCP segment's step, into both entries. Segments of the two directions may meet on two processors, FIN and FIN above all:
 * the IPv6 entry decides, who finds it changed meanwhile makes the step from there, and the other entry follows it.
 */
GLOBAL int session_step(const struct n64_flow6_key *of, __be32 pool, __be16 port, __u32 direction, __u32 event)
{
	struct n64_flow6_key key6;
	struct n64_flow4_key key4;
	struct tcp_step step = {};
	struct n64_flow6 *six;
	struct n64_flow4 *four;
	__u64 now = now_ns();

	if (!of)
		return 0;
	key6 = *of;
	flow4_key_of(&key4, &key6, pool, port);
	six = bpf_map_lookup_elem(&n64_flow6, &key6);
	four = bpf_map_lookup_elem(&n64_flow4, &key4);
	if (!six || !four)
		return 0;
	/* No loops: clang jumps into them behind their last block, which the verifier of 6.1 refuses. */
	if (!state_move(six, direction, event, &step) && !state_move(six, direction, event, &step) &&
	    !state_move(six, direction, event, &step))
		state_move(six, direction, event, &step);
	states_agree(six, four);
	if (step.refresh)
		six->last_ns = four->last_ns = now;
	if (event != TCP_OTHER && state_is_closed(step.state))
		closed_note(&key6);
	return 0;
}

/*
 * ESTABLISHED has had no segment for so long that it is TRANS, for TCP_TRANS from `now` on (RFC 6146 3.5.2.2). A segment that
 * came meanwhile goes first. Times before the state: what is TRANS and that old would count as absent.
 */
static __noinline void session_fall_silent(const struct n64_flow6_key *key6, __be32 pool, __be16 port, __u64 now)
{
	__u64 wanted = timeout_ns(N64_V6_INIT), has = timeout_ns(N64_TRANS);
	struct n64_flow4_key key4;
	struct n64_flow6 *six;
	struct n64_flow4 *four;
	__u32 old;

	flow4_key_of(&key4, key6, pool, port);
	six = bpf_map_lookup_elem(&n64_flow6, key6);
	four = bpf_map_lookup_elem(&n64_flow4, &key4);
	if (!six || !four)
		return;
	old = READ_ONCE(*state_word6(six));
	if (state_of(old) != N64_ESTABLISHED)
		return;
	if (has < wanted)
		now += wanted - has;
	WRITE_ONCE(six->last_ns, now);
	WRITE_ONCE(four->last_ns, now);
	__sync_val_compare_and_swap(state_word6(six), old, with_state(old, N64_TRANS));
	states_agree(six, four);
}

/* In these states a packet without control flags changes nothing but the time it was seen. */
static __always_inline bool state_is_steady(__u8 state)
{
	return state <= N64_OPEN_ICMP || state == N64_ESTABLISHED || state == N64_V4_FIN_RCV || state == N64_V6_FIN_RCV;
}
