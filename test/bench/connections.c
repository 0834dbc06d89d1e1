// SPDX-License-Identifier: Apache-2.0
// Short TCP connections: connect, one byte each way, reset (so that no TIME_WAIT limits the rate).
// Usage: connections serve PORT                      IPv4, any address
//        connections connect ADDRESS PORT SECONDS [ADDRESSES]
// The last octet of ADDRESS goes from 1 to 250; with ADDRESSES 1 it stays. Prints how many were made, how many failed, and
// the seconds it took.

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4

static const struct linger reset = { .l_onoff = 1 };
static const struct timeval patience = { .tv_sec = 1 };

static void die(const char *what)
{
	fprintf(stderr, "connections: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void serve(int port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	char byte;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, 512))
		die("listen");
	for (int i = 1; i < WORKERS; i++) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			break;
		}
	}
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		if (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
			recv(fd, &byte, 1, 0);
		close(fd);
	}
}

static int once(const struct addrinfo *to)
{
	int fd = socket(to->ai_family, SOCK_STREAM, 0), ok;
	char byte = 'x';

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	ok = connect(fd, to->ai_addr, to->ai_addrlen) == 0 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1 &&
	     recv(fd, &byte, 1, 0) == 1;
	close(fd);
	return ok;
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *to;
	long(*counts)[2], good = 0, bad = 0;
	int addresses = argc == 6 ? atoi(argv[5]) : 250;
	double start, end;

	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(atoi(argv[2]));
	if (argc < 5 || argc > 6 || strcmp(argv[1], "connect") || getaddrinfo(argv[2], argv[3], &hints, &to)) {
		fprintf(stderr, "usage: connections serve PORT | connect ADDRESS PORT SECONDS [ADDRESSES]\n");
		return 2;
	}
	counts = mmap(NULL, WORKERS * sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		die("mmap");
	start = now();
	end = start + atof(argv[4]);
	for (int i = 0; i < WORKERS; i++) {
		unsigned char *octet = to->ai_family == AF_INET6
					       ? &((struct sockaddr_in6 *)to->ai_addr)->sin6_addr.s6_addr[15]
					       : (unsigned char *)&((struct sockaddr_in *)to->ai_addr)->sin_addr + 3;

		if (fork())
			continue;
		for (unsigned n = i; now() < end; n += WORKERS) {
			if (addresses > 1)
				*octet = 1 + n % addresses;
			counts[i][once(to) ? 0 : 1]++;
		}
		return 0;
	}
	while (wait(NULL) > 0)
		;
	for (int i = 0; i < WORKERS; i++) {
		good += counts[i][0];
		bad += counts[i][1];
	}
	printf("%ld %ld %.6f\n", good, bad, now() - start);
	return 0;
}
