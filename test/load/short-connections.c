// SPDX-License-Identifier: Apache-2.0
// Short TCP connections as clients of HTTP make them: connect, one byte each way, the client closes first and keeps its
// port for a minute.
// Usage: short-connections serve FIRST-PORT PORTS
//        short-connections connect SOURCE SOURCES ADDRESS FIRST-PORT PORTS RATE SECONDS
// IPv6; the last two octets of SOURCE count up from 1, those of ADDRESS's last one from 1 to 250. Prints how many were
// made, how many failed and how long it took; why the first ones failed goes to stderr.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

#define WORKERS 32
#define SERVERS 4
#define MOST_PORTS 64

struct counts {
	long good;
	long bad;
};

static const struct timeval patience = { .tv_sec = 5 };
static const int one = 1;

static void die(const char *what)
{
	fprintf(stderr, "short-connections: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int listen_at(int port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, 4096))
		die("listen");
	return listener;
}

static void answer(int fd)
{
	char byte;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
		recv(fd, &byte, 1, 0);
	close(fd);
}

static void serve(int first, int ports)
{
	struct pollfd listeners[MOST_PORTS];

	for (int i = 0; i < ports; i++)
		listeners[i] = (struct pollfd){ .fd = listen_at(first + i), .events = POLLIN };
	for (int i = 1; i < SERVERS; i++) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			break;
		}
	}
	for (;;) {
		if (poll(listeners, ports, -1) < 0)
			continue;
		for (int i = 0; i < ports; i++) {
			int fd = listeners[i].revents ? accept(listeners[i].fd, NULL, NULL) : -1;

			if (fd >= 0)
				answer(fd);
		}
	}
}

static int once(const struct sockaddr_in6 *from, const struct sockaddr_in6 *to)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0), ok;
	char byte = 'x';

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(fd, SOL_IPV6, IPV6_FREEBIND, &one, sizeof(one));
	ok = bind(fd, (const struct sockaddr *)from, sizeof(*from)) == 0 &&
	     connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1 &&
	     recv(fd, &byte, 1, 0) == 1;
	if (!ok)
		ok = -errno;
	close(fd);
	return ok;
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

static void sleep_until(double at)
{
	double left = at - now();

	if (left > 0)
		usleep(left * 1e6);
}

struct load {
	struct sockaddr_in6 from;
	struct sockaddr_in6 to;
	int sources;
	int first_port;
	int ports;
	double rate;
	double seconds;
};

static void work(struct load *load, int worker, double start, struct counts *counts)
{
	for (long n = worker;; n += WORKERS) {
		double due = start + n / load->rate;
		int source = 1 + n % load->sources, result;

		if (due >= start + load->seconds || now() >= start + load->seconds)
			return;
		sleep_until(due);
		load->from.sin6_addr.s6_addr[14] = source >> 8;
		load->from.sin6_addr.s6_addr[15] = source;
		load->to.sin6_addr.s6_addr[15] = 1 + n % 250;
		load->to.sin6_port = htons(load->first_port + n % load->ports);
		result = once(&load->from, &load->to);
		if (result > 0) {
			counts->good++;
			continue;
		}
		if (!counts->bad++)
			fprintf(stderr, "%.1f s: from pod %d: %s\n", now() - start, source, strerror(-result));
	}
}

static void connect_all(struct load *load)
{
	struct counts *counts = mmap(NULL, WORKERS * sizeof(*counts), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct counts all = {};
	double start = now();

	if (counts == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < WORKERS; i++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(load, i, start, &counts[i]);
		exit(0);
	}
	while (wait(NULL) > 0)
		;
	for (int i = 0; i < WORKERS; i++) {
		all.good += counts[i].good;
		all.bad += counts[i].bad;
	}
	printf("%ld %ld %.6f\n", all.good, all.bad, now() - start);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0 && atoi(argv[3]) <= MOST_PORTS)
		serve(atoi(argv[2]), atoi(argv[3]));
	if (argc == 9 && strcmp(argv[1], "connect") == 0) {
		struct load load = {
			.from = { .sin6_family = AF_INET6 },
			.to = { .sin6_family = AF_INET6 },
			.sources = atoi(argv[3]),
			.first_port = atoi(argv[5]),
			.ports = atoi(argv[6]),
			.rate = atof(argv[7]),
			.seconds = atof(argv[8]),
		};

		if (inet_pton(AF_INET6, argv[2], &load.from.sin6_addr) == 1 &&
		    inet_pton(AF_INET6, argv[4], &load.to.sin6_addr) == 1) {
			connect_all(&load);
			return 0;
		}
	}
	fprintf(stderr, "usage: short-connections serve FIRST-PORT PORTS\n"
			"       short-connections connect SOURCE SOURCES ADDRESS FIRST-PORT PORTS RATE SECONDS\n");
	return 2;
}
