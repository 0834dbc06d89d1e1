// SPDX-License-Identifier: Apache-2.0
// Sends one frame again and again out of a device, some of its 16-bit words at random each time, checksums kept right.
// Usage: flood DEVICE RATE SECONDS OFFSET:MASK[:CHECKSUM[:CHECKSUM]]...   the frame comes by stdin
// RATE is frames a second; OFFSET and CHECKSUM count from the frame's start; MASK (hexadecimal) says which bits vary.
// Prints how many were sent.

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_FIELDS 16
#define BATCH 16

struct field {
	unsigned int offset, mask, checksum[2];
};

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

static unsigned int get(const unsigned char *frame, unsigned int at)
{
	return frame[at] << 8 | frame[at + 1];
}

static void put(unsigned char *frame, unsigned int at, unsigned int word)
{
	frame[at] = word >> 8;
	frame[at + 1] = word;
}

/* RFC 1624 */
static void mend(unsigned char *frame, unsigned int at, unsigned int old, unsigned int new)
{
	unsigned int sum = (~get(frame, at) & 0xffff) + (~old & 0xffff) + new;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	put(frame, at, ~sum & 0xffff);
}

static void vary(unsigned char *frame, const struct field *field)
{
	unsigned int old = get(frame, field->offset);
	unsigned int new = (old & ~field->mask) | (random() & field->mask);

	put(frame, field->offset, new);
	for (int i = 0; i < 2; i++) {
		if (field->checksum[i])
			mend(frame, field->checksum[i], old, new);
	}
}

int main(int argc, char **argv)
{
	unsigned char frame[9000];
	struct field fields[MOST_FIELDS] = {};
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	int fd, count = argc - 4;
	double start, seconds, rate;
	size_t length;
	long sent = 0;

	if (argc < 4 || count > MOST_FIELDS) {
		fprintf(stderr, "usage: flood DEVICE RATE SECONDS OFFSET:MASK[:CHECKSUM[:CHECKSUM]]...\n");
		return 2;
	}
	rate = atof(argv[2]);
	seconds = atof(argv[3]);
	length = fread(frame, 1, sizeof(frame), stdin);
	for (int i = 0; i < count; i++) {
		struct field *field = &fields[i];

		if (sscanf(argv[4 + i], "%u:%x:%u:%u", &field->offset, &field->mask, &field->checksum[0],
			   &field->checksum[1]) < 2 ||
		    field->offset + 2 > length) {
			fprintf(stderr, "flood: no field: %s\n", argv[4 + i]);
			return 2;
		}
	}
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	to.sll_ifindex = if_nametoindex(argv[1]);
	if (fd < 0 || !to.sll_ifindex)
		die(argv[1]);
	start = now();
	while (now() < start + seconds) {
		double ahead = sent / rate - (now() - start);

		if (ahead > 0)
			usleep(ahead * 1e6);
		for (int n = 0; n < BATCH; n++, sent++) {
			for (int i = 0; i < count; i++)
				vary(frame, &fields[i]);
			if (sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != ENOBUFS)
				die("send");
		}
	}
	printf("%ld\n", sent);
	return 0;
}
