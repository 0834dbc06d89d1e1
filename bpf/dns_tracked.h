/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Connection tracking of what the node sends itself. By the loopback interface a packet comes with its entry, in which an
 * address translation may stand: the answer, sent back as the same packet, would be translated once more, the wrong way.
 */
#pragma once

#include "common.h"
#include <bpf/bpf_core_read.h>

/* include/uapi/linux/netfilter/nf_conntrack_common.h: IPS_NAT_MASK; include/linux/skbuff.h: NFCT_INFOMASK. */
#define IPS_NAT_MASK 0x30
#define NFCT_INFOMASK 7ul

/* Of the kernel's own structs, what is read here; where it stands is found as the program is loaded. */
struct sk_buff___n64 {
	unsigned long _nfct;
} __attribute__((preserve_access_index));

struct nf_conn___n64 {
	unsigned long status;
} __attribute__((preserve_access_index));

/* True as well where it cannot be known. */
static __always_inline bool is_translated(struct __sk_buff *skb)
{
	unsigned long entry = 0, status = 0;

	if (!bpf_core_field_exists(struct sk_buff___n64, _nfct))
		return false;
	if (bpf_core_read(&entry, sizeof(entry), &((struct sk_buff___n64 *)skb)->_nfct))
		return true;
	entry &= ~NFCT_INFOMASK;
	if (!entry)
		return false;
	if (!bpf_core_field_exists(struct nf_conn___n64, status) ||
	    bpf_core_read(&status, sizeof(status), &((struct nf_conn___n64 *)entry)->status))
		return true;
	return status & IPS_NAT_MASK;
}
