/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* RFC 7915 4.2 and 5.2: which ICMP error becomes which, with MTUs and pointers. */
#pragma once

#include "icmp.h"

/* RFC 7915 4.2, RFC 1191 7: what a router that names no MTU probably has (C-08). */
static __always_inline __u32 plateau_mtu(__u32 total)
{
	if (total > 32000)
		return 32000;
	if (total > 17914)
		return 17914;
	if (total > 8166)
		return 8166;
	if (total > 4352)
		return 4352;
	if (total > 2002)
		return 2002;
	return total > 1492 ? 1492 : IPV6_MIN_MTU - 20;
}

/* The IPv4 side's MTU as far as this node knows it: in masquerade mode the host's routing decides. */
static __always_inline __u32 mtu4(void)
{
	return cfg.direct ? cfg.uplink_mtu : 65535 - 20;
}

/* RFC 7915 4.2, pointer table; -1: no counterpart. */
static __always_inline int pointer_4to6(__u8 pointer)
{
	switch (pointer) {
	case 0:
	case 1:
		return pointer;
	case 2:
	case 3:
		return 4;
	case 8:
		return 7;
	case 9:
		return 6;
	case 12 ... 15:
		return 8;
	case 16 ... 19:
		return 24;
	}
	return -1;
}

static __always_inline int pointer_6to4(__u32 pointer)
{
	switch (pointer) {
	case 0:
	case 1:
		return pointer;
	case 4:
	case 5:
		return 2;
	case 6:
		return 9;
	case 7:
		return 8;
	case 8 ... 23:
		return 12;
	case 24 ... 39:
		return 16;
	}
	return -1;
}

/* `rest` is the second word of the ICMP header, host order; `total` the quoted packet's length. */
static __always_inline int icmp_error_4to6(__u8 type, __u8 code, __u32 rest, __u32 total, struct icmp_answer *v)
{
	int pointer;

	switch (type) {
	case ICMP_DEST_UNREACH:
		v->type = ICMPV6_DEST_UNREACH;
		switch (code) {
		case 0:
		case 1:
		case 5:
		case 6:
		case 7:
		case 8:
		case 11:
		case 12:
			v->code = ICMPV6_NOROUTE;
			return N64_PASS;
		case ICMP_PROT_UNREACH:
			v->type = ICMPV6_PARAMPROB;
			v->code = ICMPV6_UNK_NEXTHDR;
			v->rest = 6;
			return N64_PASS;
		case ICMP_PORT_UNREACH:
			v->code = ICMPV6_PORT_UNREACH;
			return N64_PASS;
		case ICMP_FRAG_NEEDED: {
			__u32 mtu = rest & 0xffff;

			if (!mtu)
				mtu = plateau_mtu(total);
			v->type = ICMPV6_PKT_TOOBIG;
			mtu = min_u32(mtu + 20, min_u32(cfg.device_mtu, mtu4() + 20));
			v->rest = max_u32(mtu, IPV6_MIN_MTU);
			return N64_PASS;
		}
		case 9:
		case 10:
		case 13:
		case 15:
			v->code = ICMPV6_ADM_PROHIBITED;
			return N64_PASS;
		}
		return N64_DROP_ICMP_TYPE;
	case ICMP_TIME_EXCEEDED:
		v->type = ICMPV6_TIME_EXCEED;
		v->code = code;
		return N64_PASS;
	case ICMP_PARAMETERPROB:
		pointer = pointer_4to6(rest >> 24);
		if ((code != 0 && code != 2) || pointer < 0)
			return N64_DROP_ICMP_TYPE;
		v->type = ICMPV6_PARAMPROB;
		v->rest = pointer;
		return N64_PASS;
	}
	return N64_DROP_ICMP_TYPE;
}

static __always_inline int icmp_error_6to4(__u8 type, __u8 code, __u32 rest, bool quoted_fragment,
					   struct icmp_answer *v)
{
	int pointer;

	switch (type) {
	case ICMPV6_DEST_UNREACH:
		v->type = ICMP_DEST_UNREACH;
		switch (code) {
		case 0:
		case 2:
		case 3:
			v->code = ICMP_HOST_UNREACH;
			return N64_PASS;
		case ICMPV6_ADM_PROHIBITED:
			v->code = ICMP_HOST_ANO;
			return N64_PASS;
		case ICMPV6_PORT_UNREACH:
			v->code = ICMP_PORT_UNREACH;
			return N64_PASS;
		}
		return N64_DROP_ICMP_TYPE;
	case ICMPV6_PKT_TOOBIG: {
		__u32 mtu = rest;

		/* C-09: an IPv6 link has 1280 at least. */
		if (mtu < IPV6_MIN_MTU)
			return N64_DROP_ICMP_MTU;
		v->type = ICMP_DEST_UNREACH;
		v->code = ICMP_FRAG_NEEDED;
		mtu = min_u32(mtu - (quoted_fragment ? 28 : 20), min_u32(mtu4(), cfg.device_mtu - 20));
		v->rest = min_u32(mtu, 65535);
		return N64_PASS;
	}
	case ICMPV6_TIME_EXCEED:
		v->type = ICMP_TIME_EXCEEDED;
		v->code = code;
		return N64_PASS;
	case ICMPV6_PARAMPROB:
		if (code == ICMPV6_UNK_NEXTHDR) {
			v->type = ICMP_DEST_UNREACH;
			v->code = ICMP_PROT_UNREACH;
			return N64_PASS;
		}
		pointer = pointer_6to4(rest);
		if (code != 0 || pointer < 0)
			return N64_DROP_ICMP_TYPE;
		v->type = ICMP_PARAMETERPROB;
		v->rest = (__u32)pointer << 24;
		return N64_PASS;
	}
	return N64_DROP_ICMP_TYPE;
}
