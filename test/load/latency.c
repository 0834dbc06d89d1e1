// SPDX-License-Identifier: Apache-2.0
// How long answers to UDP datagrams take, at a steady rate.
// Usage: latency ask ADDRESS PORT RATE SECONDS [HEX]
// Prints: sent answered p50 p99 max, the times in microseconds
// HEX is the datagram; its first two octets are replaced by a number, as a DNS message has it.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NUMBERS 65536
#define MOST_OCTETS 512
#define PATIENCE 2e9

static void die(const char *what)
{
	fprintf(stderr, "latency: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e9 + at.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
	static double sent_at[NUMBERS];
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM }, *to;
	unsigned char data[MOST_OCTETS] = { 0 }, answer[2048];
	double *times, gap, start, end;
	size_t size = 64, most;
	long sent = 0, answered = 0;
	int fd;

	if (argc < 6 || argc > 7 || strcmp(argv[1], "ask") || getaddrinfo(argv[2], argv[3], &hints, &to)) {
		fprintf(stderr, "usage: latency ask ADDRESS PORT RATE SECONDS [HEX]\n");
		return 2;
	}
	if (argc == 7) {
		size = strlen(argv[6]) / 2;
		if (size < 2 || size > MOST_OCTETS)
			return 2;
		for (size_t i = 0; i < size; i++)
			sscanf(argv[6] + 2 * i, "%2hhx", &data[i]);
	}
	gap = 1e9 / atof(argv[4]);
	most = atof(argv[4]) * atof(argv[5]);
	times = calloc(most + 1, sizeof(*times));
	fd = socket(to->ai_family, SOCK_DGRAM, 0);
	if (!times || connect(fd, to->ai_addr, to->ai_addrlen))
		die(argv[2]);
	/* Woken when it is time, not up to 50 microseconds later. */
	prctl(PR_SET_TIMERSLACK, 1000);
	start = now();
	end = start + most * gap;
	for (;;) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		double at = now(), next = sent < (long)most ? start + sent * gap : end + PATIENCE, left = next - at;
		struct timespec wait = { .tv_sec = left > 0 ? left / 1e9 : 0 };

		if (sent == (long)most && (answered == sent || left <= 0))
			break;
		if (left <= 0) {
			data[0] = (sent % NUMBERS) >> 8;
			data[1] = sent;
			sent_at[sent++ % NUMBERS] = now();
			send(fd, data, size, 0);
			continue;
		}
		wait.tv_nsec = left - wait.tv_sec * 1e9;
		if (ppoll(&ready, 1, &wait, NULL) <= 0)
			continue;
		if (recv(fd, answer, sizeof(answer), 0) >= 2) {
			unsigned number = answer[0] << 8 | answer[1];

			if (sent_at[number] > 0)
				times[answered++] = now() - sent_at[number];
			sent_at[number] = 0;
		}
	}
	qsort(times, answered, sizeof(*times), by_size);
	if (answered == 0)
		printf("%ld 0 0 0 0\n", sent);
	else
		printf("%ld %ld %.1f %.1f %.1f\n", sent, answered, times[answered / 2] / 1e3,
		       times[answered * 99 / 100] / 1e3, times[answered - 1] / 1e3);
	return 0;
}
