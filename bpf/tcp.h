/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* RFC 6146 3.5.2.2, the TCP state machine, as updated by RFC 7857 2. */
#pragma once

#include "common.h"

enum tcp_event {
	TCP_OTHER,
	TCP_SYN,
	TCP_FIN,
	TCP_RST,
};

#define TCP_FLAG_FIN 0x01
#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04
#define TCP_FLAG_ACK 0x10
#define TCP_CONTROL (TCP_FLAG_FIN | TCP_FLAG_SYN | TCP_FLAG_RST)

/* The RFC gives no precedence of flags: reset, then FIN, then SYN. */
static __always_inline enum tcp_event tcp_classify(__u8 flags)
{
	if (flags & TCP_FLAG_RST)
		return TCP_RST;
	if (flags & TCP_FLAG_FIN)
		return TCP_FIN;
	return flags & TCP_FLAG_SYN ? TCP_SYN : TCP_OTHER;
}

/* Only a plain SYN opens a connection; one with FIN or RST never does, and one with ACK answers somebody else's. */
static __always_inline bool tcp_opens(__u8 flags)
{
	return (flags & (TCP_CONTROL | TCP_FLAG_ACK)) == TCP_FLAG_SYN;
}

struct tcp_step {
	__u8 state;
	/* Whether the segment starts the state's timer anew. */
	bool refresh;
};

static __always_inline struct tcp_step tcp_step(__u8 state, __u32 direction, enum tcp_event event)
{
	bool v6 = direction == N64_6TO4;

	switch (state) {
	case N64_V4_INIT:
		if (v6 && event == TCP_SYN)
			return (struct tcp_step){ N64_ESTABLISHED, true };
		return (struct tcp_step){ state, false };
	case N64_V6_INIT:
		if (event == TCP_SYN)
			return (struct tcp_step){ v6 ? N64_V6_INIT : N64_ESTABLISHED, true };
		return (struct tcp_step){ state, false };
	case N64_ESTABLISHED:
		if (event == TCP_FIN)
			return (struct tcp_step){ v6 ? N64_V6_FIN_RCV : N64_V4_FIN_RCV, false };
		return (struct tcp_step){ event == TCP_RST ? N64_TRANS : N64_ESTABLISHED, true };
	case N64_V4_FIN_RCV:
	case N64_V6_FIN_RCV:
		if (event == TCP_FIN && (state == N64_V4_FIN_RCV) == v6)
			return (struct tcp_step){ N64_BOTH_FIN_RCV, true };
		/* RFC 7857 2.2: a reset leaves four minutes, not two hours; later traffic revives it. */
		return (struct tcp_step){ event == TCP_RST ? N64_TRANS : state, true };
	case N64_BOTH_FIN_RCV:
		/* The pod reuses the port for a new connection: without this it would die with the old one (C-15). */
		if (v6 && event == TCP_SYN)
			return (struct tcp_step){ N64_V6_INIT, true };
		return (struct tcp_step){ state, false };
	case N64_TRANS:
		if (event == TCP_RST)
			return (struct tcp_step){ state, false };
		return (struct tcp_step){ N64_ESTABLISHED, true };
	default:
		return (struct tcp_step){ state, true };
	}
}
