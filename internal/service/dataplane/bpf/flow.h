// Conntrack entries, which are called flows: the state of translated connections. Both directions have an entry, and each
// can be rebuilt from the other, so that the loss of one does not break the connection.
#ifndef MINATO_FLOW_H
#define MINATO_FLOW_H

#include "lookup.h"
#include "parse.h"

enum { UDP_IDLE = 180, TIME_WAIT = 60, LAST_ACK = 1, SOURCE_PORT_TRIES = 64 };

// The entries of a closed connection stay for LINGER seconds, for packets that are still in transit. When the table is
// full, entries are removed that are closed, or that have seen no packet for IDLE_TCP or IDLE_OTHER seconds.
enum { LINGER = 10, IDLE_TCP = 60, IDLE_OTHER = 1, TRIES_FOR_ROOM = 16 };

// turn makes the key under which the entry of the other direction is.
INLINE void turn(const struct flow *f, __u8 proto, struct tuple *key)
{
	key->saddr = f->daddr;
	key->daddr = f->saddr;
	key->sport = f->dport;
	key->dport = f->sport;
	key->proto = proto;
	key->pad[0] = key->pad[1] = key->pad[2] = 0;
}

// points_to tells whether other, the entry of the other direction, translates into the reverse of t.
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
	__builtin_memset(&out->hop, 0, sizeof(out->hop));
}

INLINE int over(const struct flow *a, const struct flow *b)
{
	__u32 both = a->flags & b->flags, any = a->flags | b->flags;
	return (both & FLOW_FIN) || (any & FLOW_RST);
}

enum news { NOTHING, TIME, END };

// touch records the flags and the time of a packet in its conntrack entry. It returns END if the packet closes the
// connection, and else TIME if it is the first one in this second.
INLINE enum news touch(struct flow *f, const struct flow *pair, const struct packet *p)
{
	__u32 flags = f->flags, t = now();
	if (p->t.proto == PROTO_TCP && p->has_l4) {
		if ((p->tcp_flags & TCP_FIN) && !(flags & FLOW_FIN))
			flags |= FLOW_FIN | (pair && (pair->flags & FLOW_FIN) ? FLOW_LAST_FIN : 0);
		if (p->tcp_flags & TCP_RST)
			flags |= FLOW_RST;
	}
	if (flags & FLOW_REPLY)
		flags |= FLOW_ANSWERED;
	int news = (flags & ~f->flags) & (FLOW_FIN | FLOW_RST);
	if (flags != f->flags)
		f->flags = flags;
	int later = t != f->seen;
	if (later)
		f->seen = t;
	if (news && pair && over(f, pair))
		return END;
	return later ? TIME : NOTHING;
}

INLINE int opens(const struct packet *p)
{
	return p->t.proto == PROTO_TCP && p->has_l4 && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

// is_stale decides whether a new backend must be picked for a packet that has a conntrack entry. A repeated SYN and a UDP
// datagram keep their backend, unless the backend or the frontend is gone. Other TCP packets always keep it.
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

// forgotten tells whether the backend's kernel has no state of the connection any more, given the entry of its replies. A
// reset ends that state at once, and so does the last ACK if the client closed first; a backend that closed first keeps
// the connection in TIME_WAIT.
INLINE int forgotten(const struct flow *reply, const struct flow *pair, __u32 idle)
{
	if ((reply->flags & FLOW_RST) || (pair && (pair->flags & FLOW_RST)))
		return 1;
	return (reply->flags & FLOW_FIN) && idle > (reply->flags & FLOW_LAST_FIN ? LAST_ACK : TIME_WAIT);
}

// is_free tells whether a source port can be used for masquerading: no connection to this backend has it, or only one that
// the backend's kernel has forgotten.
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
	struct tuple key;
	turn(f, proto, &key);
	struct flow *pair = map_lookup(&flows, &key);
	return forgotten(f, pair && points_to(pair, reply) ? pair : 0, idle);
}

// may_go tells whether the entries of a connection can be removed. pair is the entry of the replies, null if there is
// none; full says that the table is full.
INLINE int may_go(const struct flow *f, const struct flow *pair, __u8 proto, int full)
{
	__u32 t = now(), idle = t - f->seen;
	if (!pair)
		return idle > LINGER;
	if (t - pair->seen < idle)
		idle = t - pair->seen;
	if (proto == PROTO_UDP)
		return idle > (full ? IDLE_OTHER : UDP_IDLE);
	if (over(f, pair))
		return full || (idle > LINGER && forgotten(pair, f, idle));
	return full && idle > (pair->flags & FLOW_ANSWERED ? IDLE_TCP : IDLE_OTHER);
}

// take_turn looks at the connection at the head of the queue turns: it removes the entries if may_go allows it, and puts it
// at the tail otherwise. It returns 1 if it removed them.
GLOBAL int take_turn(int full)
{
	struct tuple t, key;
	if (queue_pop(&turns, &t))
		return 0;
	struct flow *f = map_lookup(&flows, &t);
	if (!f)
		return 0;
	turn(f, t.proto, &key);
	struct flow *pair = map_lookup(&flows, &key);
	if (pair && !points_to(pair, &t))
		pair = 0;
	if (!may_go(f, pair, t.proto, full)) {
		queue_push(&turns, &t, 0);
		return 0;
	}
	if (pair)
		map_delete(&flows, &key);
	map_delete(&flows, &t);
	return 1;
}

// make_room removes a connection that is not in use from a table that is full. It returns 0 if it found none.
GLOBAL int make_room(void)
{
	for (int i = 0; i < TRIES_FOR_ROOM; i++)
		if (take_turn(1))
			return 1;
	return 0;
}

enum { STORED = 0, EXISTS = -17 };

INLINE long store(const struct tuple *t, const struct flow *f, __u64 flags)
{
	long done = map_update(&flows, t, f, flags);
	if (done == STORED || done == EXISTS || !make_room())
		return done;
	return map_update(&flows, t, f, flags);
}

// store_flow writes both entries of a new connection and puts it into the queue turns, unless an earlier connection of the
// same client port is there already. It returns 0 if the table is full.
GLOBAL int store_flow(const struct tuple *t, const struct flow *f, const struct tuple *reply, const struct flow *back)
{
	if (!t || !f || !reply || !back || store(reply, back, BPF_ANY) != STORED)
		return 0;
	switch (store(t, f, BPF_NOEXIST)) {
	case STORED:
		break;
	case EXISTS:
		return map_update(&flows, t, f, BPF_ANY) == STORED;
	default:
		map_delete(&flows, reply);
		return 0;
	}
	if (queue_push(&turns, t, 0)) {
		make_room();
		queue_push(&turns, t, 0);
	}
	return 1;
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
