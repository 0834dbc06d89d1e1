// SPDX-License-Identifier: Apache-2.0
// What generator.c tells generator.bpf.c: one packet, and what differs from one to the next.
#pragma once

#include <linux/types.h>

#define GENERATOR_MAX_PACKET 84

struct generator_config {
	__u64 next;    /* number of the next packet */
	__u32 ifindex; /* where packets leave */
	__u32 family;  /* 4 or 6 */
	__u32 flows;   /* 0: every packet is a flow of its own */
	__u32 first_port;
	__u32 header_sum; /* IPv4 header, without the last octet of the destination */
	__u32 udp_sum;	  /* UDP with pseudo header, without ports and that octet */
	__u8 packet[GENERATOR_MAX_PACKET];
	__u8 padding[4];
};
