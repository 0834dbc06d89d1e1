/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Structs shared with TypeScript: map keys and values, the configuration in .rodata, records that iterators write.
 * src/model/layout.gen.ts is made from their BTF. Padding is explicit and always zero, since keys are compared whole.
 * Fields ending in _be are in network order; times are CLOCK_MONOTONIC nanoseconds.
 *
 * Letters of RFC 6146: X',x IPv6 client, T,t pool transport address, Z,z IPv4 server.
 */
#pragma once

#define N64_MAX_PREFIXES 8
#define N64_MAX_UPLINKS 8
#define N64_MAX_RETURNS 16
#define N64_MAX_POD_DEVICES 1024
#define N64_MAX_BLOCKS_PER_POD 256
#define N64_MAX_SLOTS 1024
/* A block holds up to 1024 ports. */
#define N64_BLOCK_WORDS 16

/* Where the route back to a source has to lead: anywhere, not outside by another way than it came, just where it came from. */
enum n64_source_check {
	N64_SOURCE_UNCHECKED,
	N64_SOURCE_LOOSE,
	N64_SOURCE_STRICT,
};

/* Blocks that were ever offered, less those taken out again, which user space counts; and those leased. */
enum n64_stock {
	N64_STOCK_OFFERED,
	N64_STOCK_LEASED,
	N64_STOCK_COUNTS,
};

/* For how long packets from the IPv4 side alone keep a session (RFC 4787 REQ-6): not at all, one lifetime more, for ever. */
enum n64_inbound_refresh {
	N64_REFRESH_NEVER,
	N64_REFRESH_ONCE,
	N64_REFRESH_ALWAYS,
};

/* In place of a number in mss_clamp: what the routes take. */
#define N64_MSS_AUTO 0xffffffffu

enum n64_protocol {
	N64_TCP,
	N64_UDP,
	N64_ICMP,
	N64_PROTOCOLS,
};

enum n64_direction {
	N64_6TO4,
	N64_4TO6,
	N64_DIRECTIONS,
};

/* RFC 6146 3.5.2.2; CLOSED is the absence of an entry. OPEN is the one state of UDP and ICMP. */
enum n64_state {
	N64_OPEN_UDP,
	N64_OPEN_ICMP,
	N64_V4_INIT,
	N64_V6_INIT,
	N64_ESTABLISHED,
	N64_V4_FIN_RCV,
	N64_V6_FIN_RCV,
	N64_BOTH_FIN_RCV,
	N64_TRANS,
	N64_STATES,
};

struct n64_prefix {
	__u8 address[16];
	/* One of 32 40 48 56 64 96 (RFC 6052 2.2). */
	__u32 length;
	/* 64:ff9b::/96, which must not carry non-global IPv4 (RFC 6052 3.1). */
	__u32 well_known;
};

struct n64_config {
	__u64 timeout_ns[N64_STATES];
	__u64 fragment_ns;
	struct n64_prefix prefixes[N64_MAX_PREFIXES];
	__u32 prefix_count;
	/* 0: masquerade, packets return to the host stack; 1: direct, they leave as the node's IPv4 routes say. */
	__u32 direct;
	__u32 device_ifindex;
	__u32 device_mtu;
	__u32 uplink_ifindex[N64_MAX_UPLINKS];
	__u32 uplink_count;
	__u32 uplink_mtu;
	/* Direct: interfaces that answers may come by; programs hang there. */
	__u32 return_ifindex[N64_MAX_RETURNS];
	__u32 return_count;
	/* Whether pods begin sessions only with addresses that n64_admitted has. */
	__u32 admit_listed;
	__u32 endpoint_independent_filtering;
	__u32 restrict_sources;
	__u32 max_blocks_per_pod;
	__u32 slots;
	/* RFC 7915 4: IPv4 packets without DF become IPv6 packets of this size at most. */
	__u32 lowest_ipv6_mtu;
	__u32 max_sessions_per_pod;
	/* The last blocks of the pool, which only who holds none gets. */
	__u32 reserved_blocks;
	/* enum n64_source_check */
	__u32 check_sources;
	/* The MSS that TCP's SYNs announce at most; 0: what they like; N64_MSS_AUTO. */
	__u32 mss_clamp;
	/* Direct: whether interfaces of pods have a program (accel.h). */
	__u32 accelerate;
	/* What of an address says whose it is: addresses that agree in it are one pod. */
	__u8 pod_mask[16];
	/* Source of errors of our own, and of those whose router the prefix may not show: routed to the device. */
	__u8 node6[16];
	/* What such routers are embedded in instead; length 0: node6 stands for them all (RFC 6791). */
	struct n64_prefix error_prefix;
	__u8 device_mac[6];
	/* Whether the sweep ends sessions that the policy has come to refuse. */
	__u8 end_denied_sessions;
	__u8 inbound_refresh;
};

/* ---- sessions: RFC 6146 3.2, one entry a direction ---- */

struct n64_flow6_key {
	__u8 src[16];
	/* Z: the embedded address, so that the key needs the prefix's index alone. */
	__u32 dst4_be;
	/* x and z; ICMP: the identifier and 0 (3-tuple). */
	__u16 sport_be;
	__u16 dport_be;
	__u8 protocol;
	__u8 prefix;
	__u8 zero[2];
};

/* Begun from the IPv4 side. */
#define N64_FLOW_OUTSIDE 1
/* Z is a pool address: the other end is a pod, too (RFC 6146 3.8). */
#define N64_FLOW_HAIRPIN 2
/* Both sides have spoken; noted for UDP and ICMP, at the first answer or by who has looked. */
#define N64_FLOW_ANSWERED 4

struct n64_flow6 {
	__u64 last_ns;
	/* 0 while the session is being made or deleted: it is in one processor's hands. */
	__u64 created_ns;
	__u64 packets;
	__u64 bytes;
	/* T,t */
	__u32 pool_be;
	__u16 port_be;
	__u8 state;
	/* N64_FLOW_ bits. */
	__u8 flags;
	/* Checksum difference of the addresses, IPv6 pair to IPv4 pair. */
	__u32 csum_delta;
	/* Low bits of the binding's created_ns: the one that this session is counted in, and no later one in its place. */
	__u32 generation;
};

struct n64_flow4_key {
	/* Z and T */
	__u32 src_be;
	__u32 dst_be;
	/* z and t; ICMP: 0 and the identifier. */
	__u16 sport_be;
	__u16 dport_be;
	__u8 protocol;
	__u8 zero[3];
};

struct n64_flow4 {
	__u64 last_ns;
	__u64 packets;
	__u64 bytes;
	/* X',x */
	__u8 src[16];
	__u16 port_be;
	__u8 state;
	__u8 prefix;
	/* Checksum difference of the addresses, IPv4 pair to IPv6 pair. */
	__u32 csum_delta;
};

enum n64_record {
	N64_RECORD_ENDED,
	N64_RECORD_PROBE,
};

/* What the sweep writes for a session that ended, or is to be probed; one without created_ns says that it walked on. */
struct n64_session_record {
	struct n64_flow6_key key;
	/* enum n64_record */
	__u32 kind;
	struct n64_flow6 six;
	struct n64_flow4 four;
};

/* Where the policy is what it was, a pass of the sweep judges one part of so many. */
#define N64_SHARES 16

/* What user space tells the sweep before each of its turns. What it does not say is 0 and spares no session a look. */
struct n64_turn {
	/* The time, up to 64 sessions old; 0: to be asked. */
	__u64 now_ns;
	/* How many sessions may be probed; none where no probe could be sent. */
	__u32 probes;
	/* Which sessions the policy judges: 0: all; otherwise one more than the share whose turn it is. */
	__u32 share;
	/* Whether n64_closing has nothing. */
	__u32 none_closing;
	__u32 zero;
};

/* ---- bindings: RFC 6146 3.1 ---- */

struct n64_bib6_key {
	__u8 src[16];
	__u16 port_be;
	__u8 protocol;
	__u8 zero;
};

/* Set in refs, a peer's too, when the last session has gone and the entry is about to: nobody may join any more. */
#define N64_REFS_DEAD 0x80000000u

struct n64_bib6 {
	__u64 created_ns;
	__u32 pool_be;
	__u16 port_be;
	__u8 is_static;
	__u8 zero;
	/* Sessions that use the binding. */
	__u32 refs;
	/* Index of the block the port is of; N64_NO_BLOCK for a static binding. */
	__u32 block;
};

#define N64_NO_BLOCK 0xffffffffu

struct n64_bib4_key {
	__u32 pool_be;
	__u16 port_be;
	__u8 protocol;
	__u8 zero;
};

struct n64_bib4 {
	__u8 src[16];
	__u16 port_be;
	__u8 is_static;
	__u8 zero;
};

/* Address-dependent filtering (RFC 6146 3.5.1): somebody behind (T,t) has written to Z, any port. UDP only. */
struct n64_peer_key {
	__u32 pool_be;
	__u32 remote_be;
	__u16 port_be;
	__u8 protocol;
	__u8 zero;
};

struct n64_peer {
	__u32 refs;
};

/* ---- ports ---- */

struct n64_pod {
	/* Paired pooling (RFC 6888 REQ-2): the one pool address this pod appears as. */
	__u32 slot;
	/* All that it holds lie below it in `block`; it never falls. */
	__u32 top;
	/* Index in `block` of the one that had a free port the last time. */
	__u32 hint;
	/* As many as it has, those of its static bindings too; two processors may lose one of them. */
	__u32 sessions;
	/* How many of them were begun from the IPv4 side. */
	__u32 outside;
	__u32 zero;
	/* Flows that found no port, by protocol: since when they are counted, how many, and why the last one (a drop reason). */
	__u64 refused_ns[N64_PROTOCOLS];
	__u32 refused[N64_PROTOCOLS];
	__u32 refused_for[N64_PROTOCOLS];
	/* Index plus one; 0 is none. */
	__u32 block[N64_MAX_BLOCKS_PER_POD];
};

/* Beside interfaces in n64_devices: blocks that are leased, whoever holds them. */
#define N64_ALL_DEVICES 0xffffffffu

enum n64_block_state {
	N64_BLOCK_NONE,
	N64_BLOCK_RESTING,
	N64_BLOCK_OFFERED,
	N64_BLOCK_LEASED,
	N64_BLOCK_RETIRED,
};

/* Set in used while an empty block is being taken back: nobody may allocate any more. */
#define N64_BLOCK_CLOSED 0x80000000u

struct n64_block {
	__u64 leased_ns;
	__u64 emptied_ns;
	__u8 holder[16];
	__u32 pool_be;
	__u32 slot;
	__u16 first_port;
	__u16 size;
	__u32 state;
	/* Dynamic ports in use, all protocols together. */
	__u32 used;
	/* Index of the interface that its holder's packet came in by; 0: the node's own. */
	__u32 device;
	/* A set bit is a port in use; static bindings' bits are always set. */
	__u64 bits[N64_PROTOCOLS][N64_BLOCK_WORDS];
};

/* What the reclaim iterator writes for a block taken back, as it stood. */
struct n64_block_record {
	__u64 leased_ns;
	__u8 holder[16];
	__u32 index;
	__u32 zero;
};

/* ---- policy ---- */

struct n64_lpm4_key {
	__u32 length;
	__u32 address_be;
};

struct n64_lpm6_key {
	__u32 length;
	__u8 address[16];
};

enum n64_verdict {
	N64_ALLOW,
	N64_NEVER,
	N64_NON_GLOBAL,
	N64_NODE,
	N64_DENIED,
};

struct n64_pool_address {
	__u32 slot;
	/* The node uses the address too: what is not ours passes to the host stack. */
	__u32 shared;
	/* It has left the pool: its flows go on, new ones get another. */
	__u32 draining;
	__u32 zero;
};

/* ---- fragments ---- */

struct n64_frag_key {
	/* IPv4 addresses stand in the last four bytes; 6to4 the destination is Z, after the prefix's index. */
	__u8 src[16];
	__u8 dst[16];
	__u32 id_be;
	__u8 protocol;
	__u8 direction;
	__u8 zero[2];
};

/* Whom a fragment is of decides on the part of the table that it may lie in. */
#define N64_FRAG_PARTS 64
#define N64_FRAGS_A_PART 512

struct n64_frag {
	__u64 expires_ns;
	struct n64_frag_key key;
	/* 6to4: T and Z in the last four bytes; 4to6: P6(Z) and X'. */
	__u8 src[16];
	__u8 dst[16];
};

/* What the first fragment does not say of its datagram. */
struct n64_hold {
	__u64 expires_ns;
	/* Bytes behind the IP header of the whole. */
	__u32 payload_length;
	/* One's complement sum of those that a UDP checksum covers, which is 0 itself; in network order. */
	__u32 sum;
};

/* skb->mark of fragments that user space sends again: they are not handed over a second time. Never leaves the node. */
#define N64_HELD_MARK 0x6e370001
/* The same of a SYN that nobody asked for and that has waited in vain (syn.h). */
#define N64_SYN_MARK 0x6e370002

/* ---- accelerator ---- */

/* Where a pod's address is, and when its packet came by there. */
struct n64_pod_way {
	__u64 seen_ns;
	__u32 ifindex;
	__u8 pod_mac[6];
	/* Of the node's end. */
	__u8 device_mac[6];
};

/* ---- counters, samples, events ---- */

struct n64_counter {
	__u64 packets;
	__u64 bytes;
};

/* What is there at the moment; kept by the programs, since a hash table cannot be asked. */
enum n64_live {
	N64_LIVE_SESSIONS,
	N64_LIVE_BINDINGS,
	N64_LIVE_KINDS,
};

struct n64_drop_sample {
	__u64 at_ns;
	/* IPv4 addresses stand in the last four bytes. */
	__u8 src[16];
	__u8 dst[16];
	__u16 sport_be;
	__u16 dport_be;
	__u32 length;
	__u8 family;
	__u8 protocol;
	__u8 zero[6];
};

enum n64_event_type {
	N64_EVENT_BLOCK_LEASED = 1,
};

struct n64_event {
	__u64 at_ns;
	__u32 type;
	__u32 block;
	__u8 holder[16];
};

enum n64_watch {
	N64_WATCH_DROP,
	N64_WATCH_BEGIN,
	N64_WATCH_END,
	N64_WATCH_LEASE,
};

/* What a monitor asks for; a bit of `kinds` for each of enum n64_watch. Masks of zeros and zeros ask for all. */
struct n64_watching {
	__u64 until_ns;
	__u8 pod[16];
	__u8 pod_mask[16];
	__u32 dst_be;
	__u32 dst_mask_be;
	__u32 kinds;
	/* Of drops. */
	__u32 reason;
	/* enum n64_protocol plus one. */
	__u32 protocol;
	__u32 zero;
};

/* Begins each record; `detail` is the index of a drop's counter, or that of the block of a lease. */
struct n64_watched {
	__u64 at_ns;
	__u32 kind;
	__u32 detail;
};

struct n64_watched_drop {
	struct n64_watched head;
	struct n64_drop_sample packet;
};

struct n64_watched_session {
	struct n64_watched head;
	struct n64_session_record session;
};

struct n64_watched_lease {
	struct n64_watched head;
	__u8 holder[16];
};

/* Since when a next hop has been without an address of its link, when last, and when it was last asked for. */
struct n64_silence {
	__u64 first_ns;
	__u64 last_ns;
	__u64 asked_ns;
};

struct n64_rate {
	__u64 last_ns;
	__u64 tokens;
};
