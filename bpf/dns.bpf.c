/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * DNS answers that are asked for again and again, given at the interface that questions come by. What is not surely the
 * same that user space would say goes up untouched.
 */

#include "dns_answer.h"
#include "dns_tracked.h"

/* Ingress of an interface that questions come by. */
SEC("tc")
int n64_dns(struct __sk_buff *skb)
{
	struct n64_dns_answer *answer;
	struct dns_asked asked = {};
	struct n64_dns_state *state;
	struct dns_scratch *scratch;
	__u32 zero = 0, octets;
	__u64 now, age;

	if (skb->pkt_type != 0 /* PACKET_HOST */ || skb->vlan_present || skb->gso_size)
		return PASS_ON;
	state = bpf_map_lookup_elem(&n64_dns_state, &zero);
	scratch = dns_scratch();
	if (!state || !scratch || !dns_read_headers(skb, &asked) || !dns_is_listened(state, asked.told.port_be) ||
	    !dns_read_question(skb, &asked, &scratch->question))
		return PASS_ON;
	answer = bpf_map_lookup_elem(&n64_dns_answers, &scratch->question);
	if (!answer || answer->generation != state->generation)
		return PASS_ON;
	asked.told.answer = answer->id;
	now = bpf_ktime_get_ns();
	octets = asked.question_end - asked.udp_off - sizeof(struct udphdr) + answer->tail_octets;
	if (now >= answer->expires_ns || octets > min_u32(asked.max_octets, state->max_octets) ||
	    !bpf_map_lookup_elem(&n64_dns_told, &asked.told) || is_translated(skb)) {
		dns_count(N64_DNS_PASSED);
		return PASS_ON;
	}
	age = (now - answer->stored_ns) / NSEC_PER_SEC;
	if (!dns_copy_tail(scratch, answer, age))
		return PASS_ON;
	dns_count(N64_DNS_ANSWERED);
	return dns_answer(skb, &asked, scratch, answer, age);
}

char LICENSE[] SEC("license") = "GPL";
