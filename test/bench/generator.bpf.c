// SPDX-License-Identifier: Apache-2.0
// Makes UDP packets: run by BPF_PROG_TEST_RUN with live frames, each run sends one packet out of a veth.

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "generator.h"

#define ETHERNET 14
#define FRAME4 64
#define FRAME6 GENERATOR_MAX_PACKET

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct generator_config);
} config SEC(".maps");

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void put16(__u8 *at, __u16 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, octet = 0, pod = 0, number, source, destination;
	struct generator_config *c = bpf_map_lookup_elem(&config, &zero);
	__u8 *udp, *last;
	__u16 sum;

	if (!c)
		return XDP_ABORTED;
	number = c->next++;
	destination = c->port;
	if (c->flows) {
		source = c->first_port + number % c->flows;
	} else if (c->pods) {
		/* Eight ports of each pod, so that a block of 16 is enough for it; 250 destinations, and then their next port. */
		pod = GENERATOR_FIRST_POD + number % c->pods;
		number /= c->pods;
		source = c->first_port + (number & 7);
		number >>= 3;
		octet = 1 + number % 250;
		destination = 1024 + (number / 250 & 0x7fff);
	} else {
		/* 16 source ports, so that a NAT64 needs few bindings; 32768 ports of 250 destinations. */
		source = c->first_port + (number & 15);
		destination = 1024 + ((number >> 4) & 0x7fff);
		octet = 1 + (number >> 19) % 250;
	}
	/* The page comes back with what the stack wrote into it, so all of the packet is written every time. */
	if (c->family == 4) {
		if (data + FRAME4 > end)
			return XDP_ABORTED;
		__builtin_memcpy(data, c->packet, FRAME4);
		put16(data + ETHERNET + 10, fold(c->header_sum + octet + pod));
		last = data + ETHERNET + 19;
		udp = data + ETHERNET + 20;
	} else {
		if (data + FRAME6 > end)
			return XDP_ABORTED;
		__builtin_memcpy(data, c->packet, FRAME6);
		last = data + ETHERNET + 39;
		udp = data + ETHERNET + 40;
	}
	if (!c->flows)
		*last = octet;
	if (pod)
		*(last - (c->family == 4 ? 4 : 16)) = pod;
	put16(udp, source);
	put16(udp + 2, destination);
	sum = fold(c->udp_sum + source + destination + octet + pod);
	put16(udp + 6, sum ? sum : 0xffff);
	return bpf_redirect(c->ifindex, 0);
}

char LICENSE[] SEC("license") = "Apache-2.0";
