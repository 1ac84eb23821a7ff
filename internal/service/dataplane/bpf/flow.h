// The state of translated connections. Both directions have an entry; each can rebuild the other, so that a table
// that runs full never leaves half a connection.
#ifndef MINATO_FLOW_H
#define MINATO_FLOW_H

#include "lookup.h"
#include "parse.h"

enum { UDP_IDLE = 180, TIME_WAIT = 60, LAST_ACK = 1, SOURCE_PORT_TRIES = 64 };

// turn makes the key of the other direction.
INLINE void turn(const struct flow *f, __u8 proto, struct tuple *key)
{
	key->saddr = f->daddr;
	key->daddr = f->saddr;
	key->sport = f->dport;
	key->dport = f->sport;
	key->proto = proto;
	key->pad[0] = key->pad[1] = key->pad[2] = 0;
}

// points_to tells whether an entry of the other direction leads back to the tuple.
INLINE int points_to(const struct flow *other, const struct tuple *t)
{
	return other->sport == t->dport && other->dport == t->sport && same_addr(&other->saddr, &t->daddr) &&
	       same_addr(&other->daddr, &t->saddr);
}

// opposite fills the entry of the other direction.
INLINE void opposite(const struct flow *f, const struct tuple *t, struct flow *out)
{
	out->saddr = t->daddr;
	out->daddr = t->saddr;
	out->sport = t->dport;
	out->dport = t->sport;
	out->flags = (f->flags ^ FLOW_REPLY) & FLOW_REPLY;
	out->service = f->service;
	out->backend = f->backend;
	out->seen = f->seen;
	out->pad = 0;
}

INLINE int over(const struct flow *a, const struct flow *b)
{
	__u32 both = a->flags & b->flags, any = a->flags | b->flags;
	return (both & FLOW_FIN) || (any & FLOW_RST);
}

INLINE void touch(struct flow *f, const struct flow *pair, const struct packet *p)
{
	__u32 flags = f->flags, t = now();
	if (p->t.proto == PROTO_TCP && p->has_l4) {
		if ((p->tcp_flags & TCP_FIN) && !(flags & FLOW_FIN))
			flags |= FLOW_FIN | (pair && (pair->flags & FLOW_FIN) ? FLOW_LAST_FIN : 0);
		if (p->tcp_flags & TCP_RST)
			flags |= FLOW_RST;
	}
	if (flags != f->flags)
		f->flags = flags;
	if (t != f->seen)
		f->seen = t;
}

INLINE int opens(const struct packet *p)
{
	return p->t.proto == PROTO_TCP && p->has_l4 && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

// is_stale decides whether a packet that may start a connection must be steered anew. A repeated SYN keeps its backend
// and so does UDP, unless the backend or the Service is gone. Packets in the middle of a TCP connection never move.
INLINE int is_stale(const struct flow *f, const struct flow *pair, const struct packet *p, __u8 scope)
{
	int udp = p->t.proto == PROTO_UDP;
	if (!udp && !opens(p))
		return 0;
	if (!udp && pair && over(f, pair))
		return 1;
	if (udp && now() - f->seen > UDP_IDLE)
		return 1;
	struct frontend_key key = { .addr = p->t.daddr, .port = p->t.dport, .proto = p->t.proto, .scope = scope };
	struct frontend fe;
	if (!find_frontend(&key, &fe) || fe.service != f->service)
		return 1;
	struct backend b;
	return !get_backend(f->backend, &b);
}

// is_free tells whether a source port can be taken: unused towards this backend, or used by a connection that the
// backend has forgotten. It does so at once after a reset, and when the other side was the first to close; else only
// when it has waited for stray packets.
GLOBAL int is_free(const struct tuple *reply, __u8 proto)
{
	if (!reply)
		return 0;
	struct flow *f = map_lookup(&flows, reply);
	if (!f)
		return 1;
	__u32 idle = now() - f->seen;
	if (proto == PROTO_UDP)
		return idle > UDP_IDLE;
	if (f->flags & FLOW_RST)
		return 1;
	if (f->flags & FLOW_FIN)
		return idle > (f->flags & FLOW_LAST_FIN ? LAST_ACK : TIME_WAIT);
	struct tuple key;
	turn(f, proto, &key);
	struct flow *pair = map_lookup(&flows, &key);
	return pair && points_to(pair, reply) && (pair->flags & FLOW_RST);
}

// choose_source_port finds a port of the masquerading range for f, whose source address is set. It returns 0 if
// there is none.
GLOBAL int choose_source_port(struct flow *f, __u8 proto)
{
	struct config *cfg = settings();
	if (!f || !cfg || !cfg->masquerade_count)
		return 0;
	struct tuple reply;
	for (int i = 0; i < SOURCE_PORT_TRIES; i++) {
		f->sport = htons(cfg->masquerade_min + random32() % cfg->masquerade_count);
		turn(f, proto, &reply);
		if (is_free(&reply, proto))
			return 1;
	}
	return 0;
}

#endif
