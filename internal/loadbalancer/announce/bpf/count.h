// Counters of each address. An address that had no traffic has no entry.
#ifndef MINATO_ANNOUNCE_COUNT_H
#define MINATO_ANNOUNCE_COUNT_H

#include "maps.h"

struct counts {
	__u64 requests; // for the address's hardware address
	__u64 replies;
	__u64 handed_on; // packets that another node got, those of the next counter included
	__u64 seconds; // packets of flows that this node did not know
};

enum counted { COUNT_REQUEST, COUNT_REPLY, COUNT_HANDED_ON, COUNT_SECOND };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, union addr);
	__type(value, struct counts);
} counters SEC(".maps");

GLOBAL int count(const union addr *addr, __u32 what)
{
	if (!addr)
		return 0;
	struct counts *c = map_lookup(&counters, addr);
	if (!c) {
		struct counts none = {};
		map_update(&counters, addr, &none, BPF_NOEXIST);
		c = map_lookup(&counters, addr);
		if (!c)
			return 0;
	}
	switch (what) {
	case COUNT_REQUEST:
		c->requests += 1;
		break;
	case COUNT_REPLY:
		c->replies += 1;
		break;
	case COUNT_SECOND:
		c->seconds += 1;
		// it is handed on as well
	case COUNT_HANDED_ON:
		c->handed_on += 1;
	}
	return 0;
}

#endif
