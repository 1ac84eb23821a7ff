// The maps: tables that the agent writes and the programs read. The same structures in Go are in ../layout.go; a test
// compares the sizes.
#ifndef MINATO_ANNOUNCE_MAPS_H
#define MINATO_ANNOUNCE_MAPS_H

#include "addr.h"

enum address_flag {
	ADDRESS_SELF = 1, // the node's own: liveness probes to it are sent back
	ADDRESS_OWNED = 2, // a Service's, of which nobody but nodes may send claims
	ADDRESS_ANSWER = 4, // this node answers for it
	ADDRESS_SPREAD = 8, // it has entries in spreads
	ADDRESS_GATEWAY = 16, // the agent wants to know when it is heard
};

struct address {
	__u32 flags;
	__u32 links; // where it is answered: a bit for each interface, by the interface's number
	__u64 told; // when a claim was last told, in nanoseconds since boot
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, union addr);
	__type(value, struct address);
} addresses SEC(".maps");

struct mac {
	__u8 b[6];
	__u8 pad[2];
};

// An interface at which the programs are.
struct link {
	struct mac mac;
	__u32 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct link);
} links SEC(".maps");

// The number of this node, and in a bucket the number of no node.
enum { SELF = 0, NOBODY = 0xfff };

// A node by its number, which the buckets have.
struct host {
	union addr addr4; // zero if the node has no such address
	union addr addr6;
	char name[256]; // for the agent: a later process gives the node the same number
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NOBODY);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct host);
} hosts SEC(".maps");

// An address of another node, with the hardware address from which its probes come.
struct peer {
	__u32 host;
	__u32 pad;
	struct mac mac; // zero until one came
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, union addr);
	__type(value, struct peer);
} peers SEC(".maps");

// The hardware addresses of this node's interfaces and of the other nodes.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mac);
	__type(value, __u32);
} stations SEC(".maps");

enum spread_flag {
	SPREAD_BY_CLIENT = 1, // all flows of a client go to one node
};

struct spread_key {
	union addr addr;
	__be16 port;
	__u8 proto;
	__u8 pad[5];
};

struct spread {
	__u32 table;
	__u32 flags;
	__u32 check; // of the key: differs if the kernel reused the entry for another key while a program read it
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct spread_key);
	__type(value, struct spread);
} spreads SEC(".maps");

#define BUCKETS 1021

// Which nodes get the flows of a bucket: the owner's number in the low 12 bits, the second's in the high ones. With the
// kernel's own data the whole table is just below 4 KiB, the next larger size of its memory.
struct bucket {
	__u8 b[3];
};

// The flows of a Service among nodes. A change writes a new table beside the old one, and then changes the entries in
// spreads to it.
struct table {
	__u32 id; // as the key, for the same reason as spread.check; before the buckets, since the kernel writes it first
	__u32 count; // of buckets
	struct bucket buckets[BUCKETS];
	__u8 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct table);
} tables SEC(".maps");

// The Service data plane's conntrack entries; the agent replaces this map by that one, whose values may be larger.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tuple);
	__type(value, __u32);
} flows SEC(".maps");

enum config_flag {
	CONFIG_SILENT = 1, // nothing is answered: the node hears nobody
	CONFIG_FLOWS = 2, // flows are the Service data plane's
};

struct config {
	__u32 flags;
	__be16 probe_port;
	__u16 pad;
	__u64 expires; // when nothing is done for other nodes any more, in nanoseconds since boot; 0 for never
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

INLINE const struct config *settings(void)
{
	__u32 zero = 0;
	return map_lookup(&config, &zero);
}

// has_expired tells whether the agent has not been there for so long that other nodes are to take over.
INLINE int has_expired(const struct config *cfg, __u64 since)
{
	return cfg->expires && clock_coarse() > cfg->expires + since;
}

INLINE struct mac mac_of(const __u8 *b)
{
	struct mac m = {};
	__builtin_memcpy(m.b, b, 6);
	return m;
}

INLINE int same_mac(const struct mac *a, const struct mac *b)
{
	return *(const __u32 *)a->b == *(const __u32 *)b->b && *(const __u16 *)(a->b + 4) == *(const __u16 *)(b->b + 4);
}

// is_group tells whether a hardware address is one of several stations.
INLINE int is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

INLINE int is_zero(const union addr *a)
{
	return !a->d[0] && !a->d[1];
}

#endif
