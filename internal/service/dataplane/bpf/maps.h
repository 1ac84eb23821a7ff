// The maps: tables that the agent writes and the programs read, and state that the programs keep themselves. The same
// structures in Go are in ../layout.go; a test compares the sizes.
#ifndef MINATO_MAPS_H
#define MINATO_MAPS_H

#include "addr.h"

// Where traffic comes from: INSIDE is a Pod of the node or the node itself, OUTSIDE an uplink.
enum scope { INSIDE = 0, OUTSIDE = 1 };

enum verdict { FORWARD = 0, REJECT = 1, DROP = 2 };

enum frontend_flag {
	FRONTEND_MASQUERADE = 1, // replace the client's address by the node's
	FRONTEND_RESTRICTED = 2, // admit only clients in source_ranges
	FRONTEND_CONSISTENT = 4, // pick the backend by a hash of the connection, from a table in maglev
	FRONTEND_HOST_PORT = 8, // a Pod's hostPort, which gives way to a NodePort of the same number
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
	__u32 count; // slots of the set, or entries of its Maglev table
	__u32 affinity; // seconds, 0 is off
	__u8 verdict;
	__u8 set;
	__u16 flags;
};

// The backends of one Service port, in two sets. A change writes the slots of a new generation beside the old ones, and
// then changes the frontends to the new generation. With session affinity there is also an entry for each backend by its
// number, which tells whether the backend is still in the set.
struct slot_key {
	__u32 service;
	__u32 generation;
	__u32 index; // combined with slot_bit
};

enum slot_bit {
	SLOT_LOCAL_SET = 1u << 31,
	SLOT_MEMBER = 1u << 30, // the rest of the index is the number of a backend
};

struct slot {
	__u32 backend;
	__u32 service; // as in the key: differs if the kernel reused the entry for another key while a program read it
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
	__u32 id; // as the key, for the same reason as slot.service
};

enum node_flag {
	NODE_SELF = 1,
	NODE_CLOSED = 2, // NodePorts are not served at this address
};

struct node {
	__u32 flags;
};

enum flow_flag {
	FLOW_REPLY = 1, // from the backend to the client
	FLOW_FIN = 2, // a FIN was seen in this direction
	FLOW_RST = 4,
	FLOW_LAST_FIN = 8, // the other direction had its FIN first
	FLOW_ANSWERED = 16, // in the entry of the replies: the backend has replied
};

// The next hop of a flow: the result of a route look-up, kept for a second.
struct hop {
	__u32 ifindex; // 0 if the next hop is not known
	__u32 check; // of the destination, since the kernel may reuse an entry for another key while a program reads it
	__u16 mtu;
	__u8 macs[12]; // destination and source, as in the Ethernet header
	__u16 pad;
};

// A conntrack entry of one direction: the addresses and ports that a packet with a certain tuple gets. Tuple and entry,
// reversed, make the entry of the other direction.
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

// The frontend that a socket's owner asked for, and the backend that the socket talks to instead.
struct peer {
	union addr frontend;
	union addr backend;
	__be16 frontend_port;
	__be16 backend_port;
	__u32 service;
	__u32 backend_id;
	__u32 pad;
};

// An unconnected UDP socket may talk to several Services. The first element is for what a socket is connected to, the
// others for what it sends to without a connection.
#define PEERS 5

struct peers {
	__u32 next; // element to overwrite next
	__u32 last; // element used last
	struct peer peer[PEERS];
};

// Session affinity: the backend of a client's last connection to a Service port. A client at a socket is identified by the
// cookie of its network namespace, because its address is not known before the socket is connected.
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
	__u32 prefix; // bits to compare, those of the service included
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
	CONFIG_ROUTED_SOURCE = 1, // masquerade with the source address of the route to the backend, not with self
};

// The fast path: until when translated packets of a family may leave without passing the kernel's forwarding, in seconds
// since boot; 0 means that they may not.
struct shortcut {
	__u32 until4;
	__u32 until6;
};

struct config {
	union addr self; // the node's IPv4 address, which masqueraded traffic takes; zero if it has none
	union addr self6; // the same for IPv6
	struct cidr services[RANGES]; // unused ones match nothing
	__u32 uplinks[UPLINKS]; // interfaces towards the outside; unused ones are 0
	__u32 inject; // svc1, the interface where rewritten packets enter the kernel
	__u16 nodeport_min; // host order
	__u16 nodeport_max;
	__u16 masquerade_min;
	__u16 masquerade_count;
	__u8 mac[8]; // of inject
	__u32 flags;
	__u64 netns; // cookie of the node's network namespace
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

// A Maglev table: the numbers of backends, over which a hash of the connection spreads. Tables differ in size.
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

// A queue of the keys of all connections, from the client's direction: the order in which they are checked for whether
// their conntrack entries can be removed. flows is no LRU map, because that evicts many entries at a time, and the
// connection for which it does so waits.
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 32768);
	__type(value, struct tuple);
} turns SEC(".maps");

// The interfaces that the fast path may send packets to.
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

// Memory of a packet program beyond its stack of 512 bytes. A processor handles one packet at a time.
struct scratch {
	struct flow to; // the addresses and ports that the packet gets
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
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct peers);
} sockets SEC(".maps");

// The same for TCP sockets, which connect once. An array indexed by the socket's cookie is faster than socket storage, which
// allocates memory for each connection: cookies are numbered one after the other, so neighbouring elements are in the
// processor's cache. An element is free again when its socket is closed. A socket whose element another one has is kept in
// the hash table streams.
#define SEATS 16384

struct seat {
	__u64 cookie; // of the socket; 0 if the element is free
	__u32 beside; // how many sockets of this element are in streams
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

// The backends that UDP sockets are connected to, by the sockets' cookies. The agent reads it to destroy the sockets whose
// backend is gone.
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

#endif
