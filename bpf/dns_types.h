/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What dns.bpf.c shares with TypeScript: questions, the answers to them, who has had them. Padding is explicit and zero. */
#pragma once

#include <linux/types.h>

/* Octets of a name on the wire; longer ones are user space's. */
#define N64_DNS_NAME_OCTETS 128
/* Of an answer, behind the question. */
#define N64_DNS_TAIL_OCTETS 512
#define N64_DNS_MAX_TTLS 16
#define N64_DNS_PORTS 8

/*
 * All that an answer may depend on but its time. `name` is in lower case: octets of lengths are below 'A', so that equal
 * octets are equal labels.
 */
struct n64_dns_question {
	__u8 name[N64_DNS_NAME_OCTETS];
	__u16 type_be;
	/* Of the header as asked: RD, AD, CD. */
	__u16 flags_be;
	__u8 name_octets;
	/* The question has an OPT record (1), with DO (2). */
	__u8 opt;
	__u16 zero;
};

/* An answer as user space has rendered it: what follows the question, and what stands before it. */
struct n64_dns_answer {
	/* On CLOCK_MONOTONIC. */
	__u64 stored_ns;
	__u64 expires_ns;
	/* Of no answer before it. */
	__u32 id;
	__u32 generation;
	__u16 flags_be;
	__u16 answers_be;
	__u16 authorities_be;
	__u16 additionals_be;
	/* Octets of `tail`; zeros follow. */
	__u16 tail_octets;
	__u16 ttl_count;
	/* Where TTLs stand in `tail`, and what they were when the answer was stored. */
	__u16 ttl_at[N64_DNS_MAX_TTLS];
	__u32 ttl[N64_DNS_MAX_TTLS];
	__u32 zero;
	__u8 tail[N64_DNS_TAIL_OCTETS];
};

/* A client that has had this answer from user space: who may ask, and who is told of, is decided there. IPv4 as ::ffff:a.b.c.d. */
struct n64_dns_told {
	__u8 client[16];
	__u8 asked[16];
	__u32 ifindex;
	__u32 answer;
	__u16 port_be;
	__u16 zero;
};

struct n64_dns_state {
	/* Answers of another one are none. */
	__u32 generation;
	/* Octets of a message over UDP at most. */
	__u32 max_octets;
	/* Listened on; 0: none. */
	__u16 ports_be[N64_DNS_PORTS];
};

/* Indexes of n64_dns_counts. */
enum n64_dns_count {
	N64_DNS_ANSWERED = 0,
	/* Known, and passed on: the client has not had it, its time is over, it is too long. */
	N64_DNS_PASSED = 1,
	N64_DNS_COUNTS = 2,
};
