// SPDX-License-Identifier: Apache-2.0
// What generator.c tells generator.bpf.c: one packet, and what differs from one to the next.
#pragma once

#include <linux/types.h>

#define GENERATOR_MAX_PACKET 84
/* Last octet of the first pod's address, where there are more than one. */
#define GENERATOR_FIRST_POD 16

struct generator_config {
	__u64 next;    /* number of the next packet */
	__u32 ifindex; /* where packets leave */
	__u32 family;  /* 4 or 6 */
	__u32 flows;   /* 0: every packet is a flow of its own */
	__u32 pods;    /* with flows 0: addresses that they come from in turn; 0: one */
	__u32 first_port;
	__u32 header_sum; /* IPv4 header, without the octets that vary */
	__u32 udp_sum;	  /* UDP with pseudo header, without ports and those octets */
	__u8 packet[GENERATOR_MAX_PACKET];
	__u32 port; /* of the destination, with flows */
};
