// The frontends and backends of TCP sockets, see struct seat.
#ifndef MINATO_STREAM_H
#define MINATO_STREAM_H

#include "lookup.h"

INLINE void note(struct peer *p, const union addr *dst, __be16 port, __u32 service, const struct backend *b)
{
	p->frontend = *dst;
	p->frontend_port = port;
	p->backend = b->addr;
	p->backend_port = b->port;
	p->service = service;
	p->backend_id = b->id;
}

INLINE struct seat *seat_of(__u64 cookie)
{
	__u32 at = cookie % SEATS;
	return map_lookup(&seats, &at);
}

// find_stream returns the peer of a socket that is connected to a Service, null for any other.
INLINE struct peer *find_stream(__u64 cookie)
{
	struct seat *s = seat_of(cookie);
	if (s && s->cookie == cookie)
		return &s->peer;
	return s && s->beside ? map_lookup(&streams, &cookie) : 0;
}

INLINE void remember_stream(__u64 cookie, const union addr *dst, __be16 port, __u32 service, const struct backend *b)
{
	struct seat *s = seat_of(cookie);
	if (!s)
		return;
	__u64 owner = __sync_val_compare_and_swap(&s->cookie, 0, cookie);
	if (owner == 0 || owner == cookie) {
		note(&s->peer, dst, port, service, b);
		return;
	}
	struct peer p = {};
	note(&p, dst, port, service, b);
	if (!map_update(&streams, &cookie, &p, BPF_NOEXIST))
		__sync_fetch_and_add(&s->beside, 1);
	else
		map_update(&streams, &cookie, &p, BPF_EXIST); // an earlier connect() of the same socket failed
}

INLINE void forget_stream(__u64 cookie)
{
	struct seat *s = seat_of(cookie);
	if (!s)
		return;
	if (s->cookie == cookie)
		s->cookie = 0;
	else if (s->beside && !map_delete(&streams, &cookie))
		__sync_fetch_and_add(&s->beside, -1);
}

#endif
