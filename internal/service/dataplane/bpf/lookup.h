// The look-ups from a destination address to a backend. All decisions are in the tables already.
#ifndef MINATO_LOOKUP_H
#define MINATO_LOOKUP_H

#include "count.h"

INLINE int in_service_range(const struct config *cfg, const union addr *a)
{
#pragma unroll
	for (int i = 0; i < RANGES; i++) {
		const struct cidr *c = &cfg->services[i];
		if ((a->d[0] & c->mask.d[0]) == c->addr.d[0] && (a->d[1] & c->mask.d[1]) == c->addr.d[1])
			return 1;
	}
	return 0;
}

// find_frontend looks for a frontend at the key's address and port. If there is none, or only a Pod's hostPort, and the port
// may be a NodePort and the address is this node's, it looks for the NodePort, and then changes the key's address to the
// one that stands for every node address. Traffic to another node's NodePort leaves this node and is outside traffic
// there: only that node knows which of its backends may have it under externalTrafficPolicy Local.
GLOBAL int find_frontend(struct frontend_key *key, struct frontend *out)
{
	struct config *cfg = settings();
	if (!key || !out || !cfg)
		return 0;
	int found = 0;
	struct frontend *f = map_lookup(&frontends, key);
	if (f) {
		*out = *f;
		found = 1;
		if (!(f->flags & FRONTEND_HOST_PORT))
			return found;
	}
	__u16 p = ntohs(key->port);
	if (p < cfg->nodeport_min || p > cfg->nodeport_max)
		return found;
	struct node *n = map_lookup(&nodes, &key->addr);
	if (!n || (n->flags & (NODE_SELF | NODE_CLOSED)) != NODE_SELF)
		return found;
	union addr own = key->addr;
	if (is_addr4(&key->addr))
		key->addr.w[3] = 0;
	else
		key->addr.d[0] = key->addr.d[1] = 0;
	f = map_lookup(&frontends, key);
	if (f) {
		*out = *f;
		return 1;
	}
	if (found)
		key->addr = own;
	return found;
}

// is_service_addr tells whether an address is the cluster IP of a Service, at whatever port.
INLINE int is_service_addr(const union addr *dst)
{
	struct frontend_key key = { .addr = *dst };
	return map_lookup(&frontends, &key) != 0;
}

INLINE int get_backend(__u32 id, struct backend *out)
{
	struct backend *b = map_lookup(&backends, &id);
	if (!b)
		return 0;
	*out = *b;
	return out->id == id;
}

// pick_consistent looks the backend up in the frontend's Maglev table, which is the same on every node.
GLOBAL int pick_consistent(const struct frontend *f, __u32 hash, struct backend *out)
{
	if (!f || !out || f->count == 0)
		return 0;
	struct maglev_key key = { .service = f->service, .generation = f->generation, .set = f->set };
	void *table = map_lookup(&maglev, &key);
	if (!table)
		return 0;
	__u32 place = hash % f->count;
	__u32 *id = map_lookup(table, &place);
	return id && get_backend(*id, out);
}

GLOBAL int pick_slot(const struct frontend *f, __u32 hash, struct backend *out)
{
	if (!f || !out || f->count == 0)
		return 0;
	if (f->flags & FRONTEND_CONSISTENT)
		return pick_consistent(f, hash, out);
	struct slot_key key = {
		.service = f->service,
		.generation = f->generation,
		.index = (hash % f->count) | ((__u32)f->set << 31),
	};
	struct slot *s = map_lookup(&slots, &key);
	if (!s || s->service != key.service)
		return 0;
	return get_backend(s->backend, out);
}

// pick chooses a backend for a new connection: with session affinity the backend of the client's last connection, if it
// is still in the set, and otherwise the one that the hash selects.
GLOBAL int pick(const struct frontend *f, const union addr *client, __u32 hash, struct backend *out)
{
	if (!f || !client || !out)
		return 0;
	if (!f->affinity)
		return pick_slot(f, hash, out);
	struct client_key key = { .addr = *client, .service = f->service };
	struct client *c = map_lookup(&clients, &key);
	if (c && now() - c->seen < f->affinity) {
		struct slot_key member = {
			.service = f->service,
			.generation = f->generation,
			.index = (c->backend & ~(SLOT_LOCAL_SET | SLOT_MEMBER)) | SLOT_MEMBER | ((__u32)f->set << 31),
		};
		if (map_lookup(&slots, &member) && get_backend(c->backend, out)) {
			c->seen = now();
			return 1;
		}
	}
	if (!pick_slot(f, hash, out))
		return 0;
	struct client fresh = { .backend = out->id, .seen = now() };
	map_update(&clients, &key, &fresh, 0);
	return 1;
}

// may_enter tells whether a client is within the source ranges of a frontend.
GLOBAL int may_enter(const struct frontend *f, const union addr *client)
{
	if (!f || !client)
		return 0;
	if (!(f->flags & FRONTEND_RESTRICTED))
		return 1;
	struct source_range_key key = { .prefix = 32 + 128, .service = f->service, .addr = *client };
	return map_lookup(&source_ranges, &key) != 0;
}

#endif
