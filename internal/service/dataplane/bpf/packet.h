// The packet programs translate what the socket programs could not: packets of senders outside the node, of processes that
// are not in the node's cgroup, and of sockets that were connected before the Service existed.
#ifndef MINATO_PACKET_H
#define MINATO_PACKET_H

#include "icmp.h"
#include "reject.h"
#include "shortcut.h"

// The interface at which a packet is seen: a Pod's, an uplink, svc1 for what the node itself sends to Services, and the
// loopback interface. One program serves all of them, because loading four would take four times as long.
enum hook { AT_POD, AT_UPLINK, AT_HOST, AT_LOOPBACK };

enum { LOOPBACK = 1 };

enum { ND_FIRST = 133, ND_LAST = 137 }; // ICMPv6 types

INLINE int where(const struct config *cfg, __u32 ifindex)
{
	if (ifindex == cfg->inject)
		return AT_HOST;
	if (ifindex == LOOPBACK)
		return AT_LOOPBACK;
#pragma unroll
	for (int i = 0; i < UPLINKS; i++)
		if (ifindex == cfg->uplinks[i])
			return AT_UPLINK;
	return AT_POD;
}

// comes_by_wire tells whether a packet came in from a Pod or from outside, and not from the node itself.
INLINE int comes_by_wire(int hook)
{
	return hook == AT_POD || hook == AT_UPLINK;
}

// must_masquerade tells whether the client's address must be replaced by the node's, so that the backend's replies pass an
// interface of this node with a program.
INLINE int must_masquerade(const struct frontend *f, const struct packet *p, const struct backend *b, int hook)
{
	if (hook == AT_HOST || hook == AT_LOOPBACK)
		return 1;
	if (hook == AT_UPLINK)
		return f->flags & FRONTEND_MASQUERADE;
	// A Pod that is its own backend would drop a packet with its own source address. A backend on the node's network
	// would reply to the Pod directly.
	if (same_addr(&p->t.saddr, &b->addr))
		return 1;
	struct node *n = map_lookup(&nodes, &b->addr);
	return n && (n->flags & NODE_SELF);
}

enum established { NO_PORT, NO_ROOM, ESTABLISHED };

// establish fills to, the translation of a new connection to backend b, and writes both conntrack entries.
GLOBAL int establish(struct __sk_buff *skb, const struct packet *p, const struct frontend *fe, const struct backend *b, struct flow *to)
{
	struct config *cfg = settings();
	if (!cfg || !p || !fe || !b || !to)
		return NO_PORT;
	to->saddr = p->t.saddr;
	to->sport = p->t.sport;
	to->daddr = b->addr;
	to->dport = b->port;
	to->flags = 0;
	to->service = fe->service;
	to->backend = b->id;
	to->seen = now();
	to->pad = 0;
	__builtin_memset(&to->hop, 0, sizeof(to->hop));
	int masquerade = must_masquerade(fe, p, b, where(cfg, skb->ifindex));
	struct tuple reply;
	if (!masquerade) {
		// A client may reach one backend through two frontends from the same port. The replies to the second
		// connection need another tuple than those to the first.
		turn(to, p->t.proto, &reply);
		struct flow *taken = map_lookup(&flows, &reply);
		masquerade = taken && !points_to(taken, &p->t) && !is_free(&reply, p->t.proto);
	}
	if (masquerade) {
		take_source(skb, to, p->t.proto);
		if ((!to->saddr.d[0] && !to->saddr.d[1]) || !choose_source_port(to, p->t.proto))
			return NO_PORT;
	}
	struct flow back;
	turn(to, p->t.proto, &reply);
	opposite(to, &p->t, &back);
	if (!store_flow(&p->t, to, &reply, &back))
		return NO_ROOM;
	count(COUNT_FORWARD);
	return ESTABLISHED;
}

// follow fills to, the translation of a packet that has the conntrack entry f. It returns how the packet may leave by the
// fast path, or 0 if a backend must be picked anew. Once a second it returns ASK_NEIGHBOUR: a neighbour entry that is only
// read would never be checked by the kernel for whether it is still valid.
GLOBAL int follow(const struct packet *p, struct flow *f, __u8 scope, struct flow *to)
{
	if (!p || !f || !to)
		return 0;
	struct tuple key;
	turn(f, p->t.proto, &key);
	struct flow *pair = map_lookup(&flows, &key);
	if (f->flags & FLOW_REPLY) {
		// A SYN is no reply: the backend opens a connection of its own from the port that it serves.
		if (opens(p))
			return 0;
	} else {
		if (pair && !points_to(pair, &p->t))
			return 0; // another connection has the source port now
		if (is_stale(f, pair, p, scope)) {
			if (pair)
				map_delete(&flows, &key);
			return 0;
		}
	}
	enum news news = touch(f, pair, p);
	*to = *f;
	if (news == TIME)
		to->hop.ifindex = 0;
	if (!pair) {
		struct flow other;
		opposite(to, &p->t, &other);
		map_update(&flows, &key, &other, BPF_NOEXIST);
	}
	// The packet that closes a connection removes up to two old ones, so that no new connection has to wait for that.
	if (news == END && take_turn(0))
		take_turn(0);
	return news == TIME ? ASK_NEIGHBOUR : STRAIGHT;
}

// forget_reply deletes the conntrack entry of the replies to a tuple. A client that talks to a backend directly, from a port
// that an earlier connection through a Service had, would otherwise get replies from the Service's address.
GLOBAL int forget_reply(const struct tuple *t)
{
	if (!t)
		return 0;
	struct tuple reply = { .saddr = t->daddr, .daddr = t->saddr, .sport = t->dport, .dport = t->sport, .proto = t->proto };
	struct flow *f = map_lookup(&flows, &reply);
	if (f && (f->flags & FLOW_REPLY))
		map_delete(&flows, &reply);
	return 0;
}

// no_frontend handles packets whose destination is no frontend. Packets to the Service range must not leave the node: they
// are rejected at the address of a Service and dropped elsewhere. Packets from svc0 are rejected whatever their address,
// because the kernel would route them to svc0 again.
INLINE int no_frontend(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, int hook, int ipv6)
{
	if (!in_service_range(cfg, &p->t.daddr)) {
		if (hook == AT_HOST)
			return reject(skb, p, ipv6);
		if (opens(p) || p->t.proto == PROTO_UDP)
			forget_reply(&p->t);
		return NEXT;
	}
	if (is_service_addr(&p->t.daddr))
		return reject(skb, p, ipv6);
	count(COUNT_DROP_UNALLOCATED);
	return SHOT;
}

// count_packet counts a packet of a connection; first says that it is the first one.
INLINE void count_packet(struct __sk_buff *skb, const struct flow *to, int first)
{
	__u32 segments = skb->gso_segs;
	tally(to->service, to->backend, first, segments ? segments : 1, skb->len);
}

INLINE int drop(const struct frontend_key *key, enum counter why)
{
	count(why);
	visit(key, VISIT_DROPPED);
	return SHOT;
}

INLINE __u64 mix(__u64 h, __u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ (h >> 32);
}

// connection_hash does not depend on the node nor on its address, so that every node picks the same backend. With session
// affinity it depends on the client's address alone.
INLINE __u32 connection_hash(const struct tuple *t, __u32 affinity)
{
	__u64 h = mix(mix(0, t->saddr.d[0]), t->saddr.d[1]);
	if (!affinity)
		h = mix(h, (__u64)t->sport << 32 | (__u64)t->dport << 16 | t->proto);
	return mix(h, h >> 17) >> 16;
}

// steer picks the backend for the first packet of a connection and sends the packet there.
INLINE int steer(struct __sk_buff *skb, const struct config *cfg, struct packet *p, int hook, __u8 scope, int ipv6)
{
	struct frontend_key key;
	struct backend b = {};
	struct frontend f = {};
	int picked = 0;
	// The agent may delete the slots of a generation after the frontend was read; by then the frontend has a new one.
	for (int try = 0; try < 2 && !picked; try++) {
		key.addr = p->t.daddr;
		key.port = p->t.dport;
		key.proto = p->t.proto;
		key.scope = scope;
		key.pad = 0;
		if (!find_frontend(&key, &f))
			return no_frontend(skb, cfg, p, hook, ipv6);
		if (f.verdict == REJECT) {
			visit(&key, VISIT_REFUSED);
			return reject(skb, p, ipv6);
		}
		if (f.verdict == DROP)
			return drop(&key, COUNT_DROP_POLICY);
		if (!may_enter(&f, &p->t.saddr))
			return drop(&key, COUNT_DROP_SOURCE);
		__u32 hash = f.flags & FRONTEND_CONSISTENT ? connection_hash(&p->t, f.affinity) : random32();
		picked = pick(&f, &p->t.saddr, hash, &b);
	}
	if (!picked)
		return drop(&key, COUNT_DROP_RACE);
	struct scratch *work = workplace();
	int done = work ? establish(skb, p, &f, &b, &work->to) : NO_ROOM;
	if (!work || done != ESTABLISHED)
		return drop(&key, done == NO_ROOM ? COUNT_DROP_FULL : COUNT_DROP_NO_PORT);
	visit(&key, VISIT_CONNECTION);
	count_packet(skb, &work->to, 1);
	return send_on(skb, cfg, p, &work->to, comes_by_wire(hook) ? STRAIGHT : 0, ipv6);
}

// is_neighbour_discovery tells whether a packet is one of Neighbour Discovery, which must pass even if an address of the
// Service range is looked for. At svc1 there is none: what comes in there would be routed to svc0 again.
INLINE int is_neighbour_discovery(struct __sk_buff *skb, const struct packet *p, int hook)
{
	__u8 type;
	if (hook == AT_HOST || p->t.proto != PROTO_ICMPV6 || !p->has_l4 || skb_load(skb, p->l4, &type, sizeof(type)))
		return 0;
	return type >= ND_FIRST && type <= ND_LAST;
}

INLINE int without_ports(struct __sk_buff *skb, const struct config *cfg, struct packet *p, int parsed, int hook, int ipv6)
{
	if (parsed == OTHER && translate_icmp(skb, p, 0, ipv6))
		return inject(skb, cfg);
	if (hook != AT_HOST && !in_service_range(cfg, &p->t.daddr))
		return NEXT;
	if (ipv6 && is_neighbour_discovery(skb, p, hook))
		return NEXT;
	count(parsed == ORPHAN ? COUNT_DROP_FRAGMENT : COUNT_DROP_UNALLOCATED);
	return SHOT;
}

// stays_here tells whether a packet has addresses that are valid on its link or on the loopback interface alone, and so
// belongs to no Service. A hostPort at a loopback address is served at the node's own sockets, and never to packets.
INLINE int stays_here(const struct packet *p, int hook, int ipv6)
{
	const union addr *s = &p->t.saddr, *d = &p->t.daddr;
	if (is_loopback(d))
		return 1;
	if (!ipv6)
		return hook == AT_LOOPBACK && s->b[12] == 127;
	return is_link_local(s) || is_link_local(d);
}

// keep_hop keeps the next hop of a packet for later packets of its connection. ifindex is set last: while it is 0, nobody
// reads the other fields.
INLINE void keep_hop(struct flow *f, const struct flow *to)
{
	f->hop.ifindex = 0;
	barrier();
	f->hop.check = to->hop.check;
	f->hop.mtu = to->hop.mtu;
	__builtin_memcpy(f->hop.macs, to->hop.macs, sizeof(f->hop.macs));
	barrier();
	f->hop.ifindex = to->hop.ifindex;
}

INLINE int coming_in(struct __sk_buff *skb, int ipv6)
{
	if (skb->protocol != (ipv6 ? htons(ETH_IPV6) : htons(ETH_IPV4)))
		return NEXT;
	struct config *cfg = settings();
	struct packet p = {};
	if (!cfg)
		return NEXT;
	int hook = where(cfg, skb->ifindex);
	if (hook == AT_HOST && was_injected(skb))
		return NEXT;
	// A switch that doesn't know where a machine is sends its frames to everybody. The kernel drops those of others, but
	// only later: what another node serves must not be served, or refused, here as well.
	if (hook == AT_UPLINK && skb->pkt_type == PACKET_OTHERHOST_)
		return NEXT;
	int parsed = parse(skb, &p, ipv6);
	if (parsed == BROKEN || stays_here(&p, hook, ipv6))
		return NEXT;
	if (parsed != PARSED)
		return without_ports(skb, cfg, &p, parsed, hook, ipv6);
	__u8 scope = hook == AT_UPLINK ? OUTSIDE : INSIDE;
	struct flow *f = map_lookup(&flows, &p.t);
	struct scratch *work = workplace();
	if (f && work) {
		int way = follow(&p, f, scope, &work->to);
		if (way) {
			count_packet(skb, &work->to, 0);
			int sent = send_on(skb, cfg, &p, &work->to, comes_by_wire(hook) ? way : 0, ipv6);
			if (f->hop.ifindex != work->to.hop.ifindex || way == ASK_NEIGHBOUR)
				keep_hop(f, &work->to);
			return sent;
		}
	}
	return steer(skb, cfg, &p, hook, scope, ipv6);
}

// going_out translates replies that passed no ingress program. At an uplink those are replies of the node's own processes,
// which have the node's address. At a Pod's interface that a CNI plugin made, they are replies to packets that the plugin
// masqueraded, and whose destination became the Pod's address after the ingress program.
INLINE int going_out(struct __sk_buff *skb, int ipv6)
{
	if (skb->protocol != (ipv6 ? htons(ETH_IPV6) : htons(ETH_IPV4)))
		return NEXT;
	struct config *cfg = settings();
	struct packet p = {};
	if (!cfg)
		return NEXT;
	// A forwarded packet passed the ingress program where it came in. That was too early only if a packet filter undid a
	// masquerade later, and while the fast path is open there is no packet filter.
	int uplink = where(cfg, skb->ifindex) == AT_UPLINK;
	if (skb->ingress_ifindex && (uplink || may_shortcut(ipv6)))
		return NEXT;
	int own;
	if (ipv6) {
		union addr source;
		if (skb_load(skb, IP6_SADDR_AT, &source, sizeof(source)))
			return NEXT;
		own = same_addr(&source, &cfg->self6);
	} else {
		__be32 source;
		if (skb_load(skb, IP_SADDR_AT, &source, sizeof(source)))
			return NEXT;
		own = source == cfg->self.w[3];
	}
	if (!own && uplink)
		return NEXT;
	int parsed = parse(skb, &p, ipv6);
	if (parsed == OTHER)
		translate_icmp(skb, &p, 1, ipv6);
	if (parsed != PARSED)
		return NEXT;
	struct flow *f = map_lookup(&flows, &p.t);
	if (!f || !(f->flags & FLOW_REPLY) || !same_addr(&f->daddr, &p.t.daddr))
		return NEXT;
	struct scratch *work = workplace();
	if (work && follow(&p, f, OUTSIDE, &work->to)) {
		count_packet(skb, &work->to, 0);
		rewrite(skb, &p, &work->to, 0, ipv6);
	}
	return NEXT;
}

// Each family has its own programs, so that the verifier need not check IPv6's in a cluster without IPv6.
SEC("tc") int ingress(struct __sk_buff *skb) { return coming_in(skb, 0); }
SEC("tc") int ingress6(struct __sk_buff *skb) { return coming_in(skb, 1); }
SEC("tc") int egress(struct __sk_buff *skb) { return going_out(skb, 0); }
SEC("tc") int egress6(struct __sk_buff *skb) { return going_out(skb, 1); }

#endif
