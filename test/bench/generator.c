// SPDX-License-Identifier: Apache-2.0
// Sends COUNT 64-byte (IPv4; 84-byte IPv6) UDP packets as fast as one core makes them. The last octet of DESTINATION is
// varied when FLOWS is 0, and that of SOURCE when PODS is not. With a NAME of four letters they ask for its AAAA, as DNS, at
// PORT. Prints the seconds it took.
// Usage: generator OBJECT INTERFACE TO_MAC SOURCE DESTINATION FLOWS FIRST_PORT START COUNT PODS [NAME PORT]

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "generator.h"

#define PAYLOAD 22
#define DISCARD_PORT 9
#define UDP_BYTES (8 + PAYLOAD)

static void die(const char *what, int error)
{
	fprintf(stderr, "generator: %s: %s\n", what, strerror(error));
	exit(1);
}

static __u32 sum16(const __u8 *bytes, int count)
{
	__u32 sum = 0;

	for (int i = 0; i < count; i += 2)
		sum += bytes[i] << 8 | bytes[i + 1];
	return sum;
}

/* RD, one question: a name of one label, AAAA, IN. */
static void ask(__u8 *payload, const char *name)
{
	memcpy(payload, "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04", 13);
	memcpy(payload + 13, name, 4);
	memcpy(payload + 17, "\x00\x00\x1c\x00\x01", 5);
}

/* Addresses are consecutive in both families, and the varied octet is the last of them. */
static int build(struct generator_config *c, const char *to_mac, const char *source, const char *destination,
		 const char *name)
{
	int v6 = strchr(source, ':') != NULL, size = v6 ? 16 : 4, length = 14 + (v6 ? 40 : 20) + UDP_BYTES;
	__u8 *eth = c->packet, *ip = eth + 14, *addresses = ip + (v6 ? 8 : 12), *udp = ip + (v6 ? 40 : 20);

	if (sscanf(to_mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", eth, eth + 1, eth + 2, eth + 3, eth + 4, eth + 5) != 6)
		die(to_mac, EINVAL);
	memcpy(eth + 6, "\x02\x00\x00\x00\x00\x01", 6);
	memcpy(eth + 12, v6 ? "\x86\xdd" : "\x08\x00", 2);
	if (v6) {
		memcpy(ip, "\x60\x00\x00\x00\x00\x00\x11\x40", 8);
		ip[5] = UDP_BYTES;
	} else {
		memcpy(ip, "\x45\x00\x00\x00\x00\x00\x40\x00\x40\x11\x00\x00", 12);
		ip[3] = 20 + UDP_BYTES;
	}
	if (inet_pton(v6 ? AF_INET6 : AF_INET, source, addresses) != 1)
		die(source, EINVAL);
	if (inet_pton(v6 ? AF_INET6 : AF_INET, destination, addresses + size) != 1)
		die(destination, EINVAL);
	if (!c->flows)
		addresses[2 * size - 1] = 0;
	if (c->pods)
		addresses[size - 1] = 0;
	udp[5] = UDP_BYTES;
	if (name)
		ask(udp + 8, name);
	c->family = v6 ? 6 : 4;
	c->header_sum = sum16(ip, 20);
	c->udp_sum = sum16(addresses, 2 * size) + 17 + UDP_BYTES + sum16(udp, UDP_BYTES);
	return length;
}

int main(int argc, char **argv)
{
	struct generator_config c = {};
	struct bpf_object *object;
	struct timespec from, to;
	__u32 zero = 0;
	int error, length, program;

	if (argc != 11 && (argc != 13 || strlen(argv[11]) != 4)) {
		fprintf(stderr, "usage: generator OBJECT INTERFACE TO_MAC SOURCE DESTINATION FLOWS FIRST_PORT START "
				"COUNT PODS [NAME PORT]\n");
		return 2;
	}
	c.ifindex = if_nametoindex(argv[2]);
	if (!c.ifindex)
		die(argv[2], errno);
	c.flows = strtoul(argv[6], NULL, 10);
	c.first_port = strtoul(argv[7], NULL, 10);
	c.next = strtoull(argv[8], NULL, 10);
	c.pods = strtoul(argv[10], NULL, 10);
	if (c.pods > 239 || (c.pods && c.flows))
		die(argv[10], EINVAL);
	c.port = argc == 13 ? strtoul(argv[12], NULL, 10) : DISCARD_PORT;
	length = build(&c, argv[3], argv[4], argv[5], argc == 13 ? argv[11] : NULL);

	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		die(argv[1], errno);
	error = bpf_object__load(object);
	if (error)
		die("load", -error);
	error = bpf_map_update_elem(bpf_object__find_map_fd_by_name(object, "config"), &zero, &c, BPF_ANY);
	if (error)
		die("config", -error);
	program = bpf_program__fd(bpf_object__find_program_by_name(object, "generate"));

	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = c.packet, .data_size_in = length,
		    .repeat = strtoul(argv[9], NULL, 10), .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
	clock_gettime(CLOCK_MONOTONIC, &from);
	error = bpf_prog_test_run_opts(program, &run);
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (error)
		die("BPF_PROG_TEST_RUN with live frames (needs kernel 5.18)", -error);
	printf("%.6f\n", (to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) / 1e9);
	bpf_object__close(object);
	return 0;
}
