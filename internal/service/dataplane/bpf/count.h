// Counters. Each processor has its own copy, so that counting takes no lock.
#ifndef MINATO_COUNT_H
#define MINATO_COUNT_H

#include "maps.h"

enum counter {
	COUNT_FORWARD, // counts connections
	COUNT_REJECT, // this one and those below count packets
	COUNT_DROP_POLICY,
	COUNT_DROP_UNALLOCATED,
	COUNT_DROP_NO_PORT, // every source port for masquerading is in use
	COUNT_DROP_RACE, // the slots of a frontend were replaced twice while it was looked up
	COUNT_DROP_FRAGMENT,
	COUNT_DROP_SOURCE,
	COUNT_DROP_FULL, // the table of conntrack entries is full
	COUNTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

INLINE void count(__u32 what)
{
	__u64 *n = map_lookup(&counters, &what);
	if (n)
		*n += 1;
}

// The traffic of a Service port to one backend.
struct traffic_key {
	__u32 service;
	__u32 backend;
};

struct traffic {
	__u64 connections;
	__u64 packets; // translated ones, in both directions; those of a socket that talks to the backend directly are not seen
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct traffic_key);
	__type(value, struct traffic);
} traffic SEC(".maps");

GLOBAL int tally(__u32 service, __u32 backend, __u32 connections, __u32 packets, __u32 bytes)
{
	struct traffic_key key = { .service = service, .backend = backend };
	struct traffic *t = map_lookup(&traffic, &key);
	if (!t) {
		struct traffic none = {};
		map_update(&traffic, &key, &none, BPF_NOEXIST);
		t = map_lookup(&traffic, &key);
		if (!t)
			return 0;
	}
	t->connections += connections;
	t->packets += packets;
	t->bytes += bytes;
	return 0;
}

// The connections to a frontend that were forwarded and refused, and the packets that were dropped. A frontend that nobody
// uses has no entry.
struct visits {
	__u64 connections;
	__u64 refused;
	__u64 dropped;
};

enum visit { VISIT_CONNECTION, VISIT_REFUSED, VISIT_DROPPED };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct frontend_key);
	__type(value, struct visits);
} visits SEC(".maps");

GLOBAL int visit(const struct frontend_key *key, __u32 what)
{
	if (!key)
		return 0;
	struct visits *v = map_lookup(&visits, key);
	if (!v) {
		struct visits none = {};
		map_update(&visits, key, &none, BPF_NOEXIST);
		v = map_lookup(&visits, key);
		if (!v)
			return 0;
	}
	if (what == VISIT_CONNECTION)
		v->connections += 1;
	else if (what == VISIT_REFUSED)
		v->refused += 1;
	else
		v->dropped += 1;
	return 0;
}

#endif
