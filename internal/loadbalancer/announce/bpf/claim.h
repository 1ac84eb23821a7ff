// Claims: what ARP and Neighbour Discovery say about who has an address.
#ifndef MINATO_ANNOUNCE_CLAIM_H
#define MINATO_ANNOUNCE_CLAIM_H

#include "count.h"

struct ethernet {
	__u8 to[6];
	__u8 from[6];
	__be16 type;
};

// What the agent is told.
struct event {
	union addr addr;
	struct mac mac;
	__u32 ifindex;
	__u32 host; // who has the hardware address; NOBODY for a stranger
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} events SEC(".maps");

// Claims of one address are told at most once in this time, in nanoseconds, so that nobody keeps the agent busy.
enum { QUIET = 100000000 };

// claim tells the agent that somebody else says to have an address. That other nodes announce what this one does not answer
// is as it should be.
GLOBAL int claim(struct __sk_buff *skb, const union addr *addr, const struct mac *mac)
{
	if (!addr || !mac)
		return 0;
	struct address *a = map_lookup(&addresses, addr);
	if (!a || !(a->flags & (ADDRESS_OWNED | ADDRESS_GATEWAY)))
		return 0;
	struct event e = { .addr = *addr, .mac = *mac, .ifindex = skb->ifindex, .host = NOBODY };
	__u32 *host = map_lookup(&stations, mac);
	if (host)
		e.host = *host;
	int gateway = a->flags & ADDRESS_GATEWAY;
	if (e.host == SELF || (host && !gateway && !(a->flags & ADDRESS_ANSWER)))
		return 0;
	__u64 t = clock_coarse();
	if (!gateway && t - a->told < QUIET)
		return 0;
	a->told = t;
	ring_output(&events, &e, sizeof(e), 0);
	return 0;
}

// answering returns the interface if an address is answered there, and else null.
INLINE struct link *answering(struct __sk_buff *skb, const union addr *addr)
{
	struct address *a = map_lookup(&addresses, addr);
	if (!a || !(a->flags & ADDRESS_ANSWER))
		return 0;
	__u32 ifindex = skb->ifindex;
	struct link *l = map_lookup(&links, &ifindex);
	if (!l || !(a->links >> (l->number & 31) & 1))
		return 0;
	return l;
}

// A node without an agent stops answering a little later than it stops being alive to others, in nanoseconds: by then another
// one answers.
enum { HANDOVER = 500000000 };

INLINE int is_silent(void)
{
	const struct config *cfg = settings();
	return !cfg || (cfg->flags & CONFIG_SILENT) || has_expired(cfg, HANDOVER);
}

#endif
