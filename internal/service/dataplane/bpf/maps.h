// The tables that the agent writes and the programs read, and the state that the programs keep themselves.
// Their Go twins are in ../layout.go; a test compares the sizes.
#ifndef MINATO_MAPS_H
#define MINATO_MAPS_H

#include "base.h"

// An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d, in network order.
union addr {
	__u8 b[16];
	__be32 w[4];
	__u64 d[2];
};

// Where traffic comes from: a pod or the node itself, or a wire.
enum scope { INSIDE = 0, OUTSIDE = 1 };

enum verdict { FORWARD = 0, REJECT = 1, DROP = 2 };

enum frontend_flag {
	FRONTEND_MASQUERADE = 1, // hide the client behind the node's address
	FRONTEND_RESTRICTED = 2, // only clients in source_ranges
	FRONTEND_CONSISTENT = 4, // the backend by a hash of the connection, in maglev
	FRONTEND_HOST_PORT = 8, // of a Pod; a Service's NodePort of the same number goes first
};

// Port and protocol 0 mark an address as one of a Service, whatever the port. The addresses :: and ::ffff:0.0.0.0 stand
// for every address of this node, which are in the table nodes.
struct frontend_key {
	union addr addr;
	__be16 port;
	__u8 proto;
	__u8 scope;
	__u32 pad;
};

struct frontend {
	__u32 service;
	__u32 generation;
	__u32 count; // slots of the set, or places of its Maglev table
	__u32 affinity; // seconds, 0 is off
	__u8 verdict;
	__u8 set;
	__u16 flags;
};

// The candidates of one Service port: a new generation is written beside the old one, then the frontends switch over.
// With session affinity there is also an entry for each member by its number, to tell whether it still is one.
struct slot_key {
	__u32 service;
	__u32 generation;
	__u32 index; // with the bits below
};

enum slot_bit {
	SLOT_LOCAL_SET = 1u << 31,
	SLOT_MEMBER = 1u << 30, // the rest is a backend's number
};

struct slot {
	__u32 backend;
	__u32 service; // says whether the entry was reused under the reader's feet
};

struct maglev_key {
	__u32 service;
	__u32 generation;
	__u32 set;
};

enum backend_flag {
	BACKEND_LOCAL = 1, // runs on this node
};

struct backend {
	union addr addr;
	__be16 port;
	__u8 proto;
	__u8 flags;
	__u32 id; // as in slot.service
};

enum node_flag {
	NODE_SELF = 1,
	NODE_CLOSED = 2, // NodePorts don't answer there
};

struct node {
	__u32 flags;
};

struct tuple {
	union addr saddr;
	union addr daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

enum flow_flag {
	FLOW_REPLY = 1, // from the backend to the client
	FLOW_FIN = 2, // seen in this direction
	FLOW_RST = 4,
	FLOW_LAST_FIN = 8, // the other direction's came before it
	FLOW_ANSWERED = 16, // in the entry of the answers: there was one
};

// Where a route leads: what is worth keeping of its look-up for a second.
struct hop {
	__u32 ifindex; // 0 if it is not known
	__u32 check; // what it was looked up for, since an entry of a table may be reused under the reader's feet
	__u16 mtu;
	__u8 macs[12]; // as a packet begins
	__u16 pad;
};

// What becomes of a packet with a certain tuple. The entry of the other direction is this one turned around, so
// either can be rebuilt from the other.
struct flow {
	union addr saddr;
	union addr daddr;
	__be16 sport;
	__be16 dport;
	__u32 flags;
	__u32 service;
	__u32 backend;
	__u32 seen; // seconds since boot
	struct hop hop;
	__u32 pad;
};

// The protocol is part of what tells packets apart in IPv4 only; in IPv6 it is 0 here.
struct fragment_key {
	union addr saddr;
	union addr daddr;
	__be32 id; // 16 bits of it in IPv4
	__u8 proto;
	__u8 pad[3];
};

struct fragment {
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

// How a socket's own idea of its peer differs from the truth.
struct peer {
	union addr frontend;
	union addr backend;
	__be16 frontend_port;
	__be16 backend_port;
	__u32 service;
	__u32 backend_id;
	__u32 pad;
};

// One socket may talk to several Services, if it is an unconnected UDP one. The first place is for what it is connected
// to.
#define PEERS 5

struct peers {
	__u32 next; // place to fill next
	__u32 last; // place used last
	struct peer peer[PEERS];
};

// Session affinity: where a client's last connection to a Service port went. A process is known by its network
// namespace, for its address is not known before it is connected.
struct client_key {
	union addr addr;
	__u32 service;
	__u32 pad;
};

struct client {
	__u32 backend;
	__u32 seen; // seconds since boot
};

struct source_range_key {
	__u32 prefix; // bits that count, the service's included
	__u32 service;
	union addr addr;
} __attribute__((packed));

struct cidr {
	union addr addr;
	union addr mask;
};

#define RANGES 4
#define UPLINKS 4

enum config_flag {
	CONFIG_ROUTED_SOURCE = 1, // masqueraded traffic takes the address that its route has
};

// Which families' translated packets may leave without passing the kernel's forwarding, and until when: seconds since
// boot, 0 is never.
struct shortcut {
	__u32 until4;
	__u32 until6;
};

struct config {
	union addr self; // the node's IPv4 address, which masqueraded traffic takes; zero if it has none
	union addr self6; // the same for IPv6
	struct cidr services[RANGES]; // unused ones match nothing
	__u32 uplinks[UPLINKS]; // interfaces towards the outside; unused ones are 0
	__u32 inject; // interface that takes rewritten packets in
	__u16 nodeport_min; // host order
	__u16 nodeport_max;
	__u16 masquerade_min;
	__u16 masquerade_count;
	__u8 mac[8]; // of the interface above
	__u32 flags;
	__u64 netns; // of the node itself
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct frontend_key);
	__type(value, struct frontend);
} frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct slot_key);
	__type(value, struct slot);
} slots SEC(".maps");

// The numbers of backends, over which a hash of the connection spreads. The sizes differ.
struct maglev_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16381);
	__uint(map_flags, BPF_F_INNER_MAP);
	__type(key, __u32);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct maglev_key);
	__array(values, struct maglev_table);
} maglev SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, union addr);
	__type(value, struct node);
} nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tuple);
	__type(value, struct flow);
} flows SEC(".maps");

// The flows of clients in the order in which they are looked at for whether they are over. The table of flows is no LRU
// one, which makes room for many entries at once, nor one that allocates its entries in batches: either way the
// connection that it does so for waits.
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 32768);
	__type(value, struct tuple);
} turns SEC(".maps");

// The interfaces that translated packets may leave by without passing the kernel's forwarding.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} exits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shortcut);
} shortcut SEC(".maps");

// What a packet program works with and its stack is too small for. A processor handles one packet at a time.
struct scratch {
	struct flow to; // what becomes of the packet
	struct bpf_fib_lookup fib;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

INLINE struct scratch *workplace(void)
{
	__u32 zero = 0;
	return map_lookup(&scratch, &zero);
}

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct client_key);
	__type(value, struct client);
} clients SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_range_key);
	__type(value, __u32);
} source_ranges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct peers);
} sockets SEC(".maps");

// The same for TCP sockets, which connect once. Each connection has to find a place for it, so that is the next one by
// the socket's cookie: the kernel numbers sockets one after the other, and what was used last is at hand. It is given up
// when the socket is closed. Who finds it taken goes to a table beside it.
#define SEATS 16384

struct seat {
	__u64 cookie; // of the socket, 0 if there is none
	__u32 beside; // sockets of this place that are in streams
	__u32 pad;
	struct peer peer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SEATS);
	__type(key, __u32);
	__type(value, struct seat);
} seats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct peer);
} streams SEC(".maps");

// The backends that UDP sockets are connected to, by the sockets' cookies. The agent looks here for those to end.
struct connection {
	union addr backend;
	__be16 port;
	__u8 pad[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct connection);
} connections SEC(".maps");

INLINE struct config *settings(void)
{
	__u32 zero = 0;
	return map_lookup(&config, &zero);
}

INLINE __u32 now(void)
{
	return clock_coarse() / 1000000000ull;
}

INLINE int same_addr(const union addr *a, const union addr *b)
{
	return a->d[0] == b->d[0] && a->d[1] == b->d[1];
}

INLINE void set_addr4(union addr *a, __be32 v4)
{
	a->d[0] = 0;
	a->w[2] = htonl(0xffff);
	a->w[3] = v4;
}

INLINE int is_addr4(const union addr *a)
{
	return a->d[0] == 0 && a->w[2] == htonl(0xffff);
}

INLINE int is_loopback(const union addr *a)
{
	if (is_addr4(a))
		return a->b[12] == 127;
	return a->d[0] == 0 && a->w[2] == 0 && a->w[3] == htonl(1);
}

#endif
