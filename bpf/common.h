/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Includes, sizes of headers and small helpers that every other header leans on. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "types.h"
#include "drop.h"

/* The programs run on devices with an Ethernet header; the host room refuses others. */
#define L3_OFF ETH_HLEN
#define IP4_LEN ((__u32)sizeof(struct iphdr))
#define IP6_LEN ((__u32)sizeof(struct ipv6hdr))
#define ICMP_LEN 8
#define FRAG_LEN 8
/* RFC 8200 5 */
#define IPV6_MIN_MTU 1280

#define NSEC_PER_SEC 1000000000ull

/* "Not ours": the next program, or the stack, gets the packet untouched. */
#define PASS_ON TC_ACT_UNSPEC

/* AF_INET and AF_INET6 of bpf_fib_lookup; sys/socket.h cannot be had here. */
#define WAY_INET 2
#define WAY_INET6 10

/* RFC 792; linux/icmp.h cannot be had here, it leads to the C library. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_HOST_UNREACH 1
#define ICMP_PROT_UNREACH 2
#define ICMP_PORT_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define ICMP_SR_FAILED 5
#define ICMP_HOST_ANO 10
#define ICMP_CHECK_OFF 2

#ifndef IPPROTO_HOPOPTS
#define IPPROTO_HOPOPTS 0
#endif

#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))

/*
 * A function that the verifier walks once, with any arguments, and not anew at each call and for each path to it. Its
 * pointers may be NULL as far as the verifier knows, and before Linux 6.2 they are no keys of maps: making() holds those.
 */
#define GLOBAL __attribute__((noinline))

static __always_inline __u32 min_u32(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

static __always_inline __u32 max_u32(__u32 a, __u32 b)
{
	return a > b ? a : b;
}

/* Good to a tick; timers are set with that much more. */
static __always_inline __u64 now_ns(void)
{
	return bpf_ktime_get_coarse_ns();
}

/*
 * RFC 7915 4.1, 5.1: one hop. What came in by an interface the node's own forwarding decrements, before the program sees it
 * or after; what the node itself sends nobody else does.
 */
static __always_inline __u8 hops_here(struct __sk_buff *skb)
{
	return skb->ingress_ifindex ? 0 : 1;
}

/*
 * By how much `now` is later than `then`, below 0 if it is earlier: processors' clocks may disagree by a tick, and a time
 * from before the machine started is a negative one.
 */
static __always_inline __s64 ns_since(__u64 now, __u64 then)
{
	return (__s64)(now - then);
}

static __always_inline bool ns_after(__u64 now, __u64 then, __u64 limit)
{
	return ns_since(now, then) > (__s64)limit;
}

/* From the configuration, whose bytes the compiler must not take for what they are before loading. */
static __always_inline void config_copy16(void *dst, const volatile __u8 *src)
{
	for (int i = 0; i < 4; i++)
		((__u32 *)dst)[i] = ((const volatile __u32 *)src)[i];
}

/* An address in words: clang copies what it does not know to be aligned by bytes, through sixteen places of the stack. */
struct quad {
	__u32 word[4];
} __attribute__((may_alias));

static __always_inline void copy16(void *dst, const void *src)
{
	*(struct quad *)dst = *(const struct quad *)src;
}

static __always_inline bool equal16(const void *a, const void *b)
{
	const __u32 *x = a, *y = b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]));
}

/* Every bit of the words moves the upper half. Pods differ in the last byte, a word's highest: it decides as others do. */
static __always_inline __u32 hash_words(const void *words, __u32 count)
{
	const __u32 *word = words;
	__u32 hash = 0;

	for (__u32 i = 0; i < count; i++) {
		hash = (hash ^ word[i]) * 0x9e3779b1u;
		hash ^= hash >> 15;
	}
	return hash * 0x85ebca6bu;
}

/* A traffic class is spread over two bytes of the IPv6 header (RFC 8200 3). */
static __always_inline __u8 ip6_traffic_class(const struct ipv6hdr *ip6)
{
	return (ip6->priority << 4) | (ip6->flow_lbl[0] >> 4);
}

static __always_inline void ip6_set_start(struct ipv6hdr *ip6, __u8 traffic_class)
{
	/* RFC 7915 4.1: version 6, traffic class copied, flow label 0. */
	*(__be32 *)ip6 = bpf_htonl(6u << 28 | (__u32)traffic_class << 20);
}
