// SPDX-License-Identifier: Apache-2.0
// Sends one UDP datagram of each of many flows, through the stack, so that none is lost for being offered too fast.
// Usage: flows SOURCE SOURCES PORTS ADDRESS DESTINATIONS
// IPv6; the last octet of SOURCE counts up from 1, that of ADDRESS from 1 to 250 and then the port from 1024 on.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

#define FIRST_PORT 10000

static void die(const char *what)
{
	fprintf(stderr, "flows: %s: %s\n", what, strerror(errno));
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in6 from = { .sin6_family = AF_INET6 }, to = { .sin6_family = AF_INET6 };
	int sources, ports, destinations, one = 1;

	if (argc != 6 || inet_pton(AF_INET6, argv[1], &from.sin6_addr) != 1 ||
	    inet_pton(AF_INET6, argv[4], &to.sin6_addr) != 1) {
		fprintf(stderr, "usage: flows SOURCE SOURCES PORTS ADDRESS DESTINATIONS\n");
		return 2;
	}
	sources = atoi(argv[2]);
	ports = atoi(argv[3]);
	destinations = atoi(argv[5]);
	for (int i = 0; i < sources * ports; i++) {
		int fd = socket(AF_INET6, SOCK_DGRAM, 0);

		from.sin6_addr.s6_addr[15] = 1 + i % sources;
		from.sin6_port = htons(FIRST_PORT + i / sources);
		setsockopt(fd, SOL_IPV6, IPV6_FREEBIND, &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&from, sizeof(from)))
			die("bind");
		for (int j = 0; j < destinations; j++) {
			to.sin6_addr.s6_addr[15] = 1 + j % 250;
			to.sin6_port = htons(1024 + j / 250);
			if (sendto(fd, "22 octets, as in bench", 22, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
				die("sendto");
		}
		close(fd);
	}
	return 0;
}
