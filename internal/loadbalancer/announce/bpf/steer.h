// Handing packets on to the node that serves their flow.
#ifndef MINATO_ANNOUNCE_STEER_H
#define MINATO_ANNOUNCE_STEER_H

#include "probe.h"
#include "quoted.h"

INLINE __u64 mix(__u64 h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdull;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 33;
}

// flow_hash is the same on every node, and the same as flowHash in ../hash.go.
INLINE __u32 flow_hash(const struct tuple *t, int by_client)
{
	__u64 h = mix(t->saddr.d[0]);
	h = mix(h ^ t->saddr.d[1]);
	h = mix(h ^ t->daddr.d[0]);
	h = mix(h ^ t->daddr.d[1]);
	if (!by_client)
		h = mix(h ^ ((__u64)ntohs(t->sport) << 32 | (__u64)ntohs(t->dport) << 16 | t->proto));
	return h >> 32;
}

struct choice {
	__u32 owner;
	__u32 second;
};

enum chosen { NOT_SPREAD, REPLACED, CHOSEN };

// choose finds the nodes for a flow. It returns REPLACED if tables were replaced meanwhile.
INLINE enum chosen choose(const struct tuple *t, struct choice *out)
{
	struct spread_key key = { .addr = t->daddr, .port = t->dport, .proto = t->proto };
	struct spread *s = map_lookup(&spreads, &key);
	if (!s)
		return NOT_SPREAD;
	struct spread spread = *s;
	if (spread.check != (t->daddr.w[3] ^ (__u32)t->dport << 8 ^ t->proto))
		return REPLACED;
	struct table *table = map_lookup(&tables, &spread.table);
	if (!table)
		return REPLACED;
	__u32 i = ((__u64)flow_hash(t, spread.flags & SPREAD_BY_CLIENT) * table->count) >> 32;
	if (i >= BUCKETS)
		return REPLACED;
	const __u8 *b = table->buckets[i].b;
	__u32 pair = b[0] | (__u32)b[1] << 8 | (__u32)b[2] << 16;
	barrier();
	if (table->id != spread.table)
		return REPLACED;
	out->owner = pair & 0xfff;
	out->second = pair >> 12;
	return CHOSEN;
}

// decrement subtracts 1 from the TTL or hop limit.
INLINE int decrement(struct __sk_buff *skb, int ipv6)
{
	if (ipv6) {
		__u8 hops;
		if (skb_load(skb, ETH_HLEN_ + 7, &hops, sizeof(hops)) || hops <= 1)
			return 0;
		hops--;
		return !skb_store(skb, ETH_HLEN_ + 7, &hops, sizeof(hops), BPF_F_RECOMPUTE_CSUM);
	}
	struct {
		__u8 ttl;
		__u8 proto;
	} old, new;
	if (skb_load(skb, ETH_HLEN_ + 8, &old, sizeof(old)) || old.ttl <= 1)
		return 0;
	new = old;
	new.ttl--;
	__u16 from, to;
	__builtin_memcpy(&from, &old, 2);
	__builtin_memcpy(&to, &new, 2);
	return !l3_csum(skb, ETH_HLEN_ + 10, from, to, 2) && !skb_store(skb, ETH_HLEN_ + 8, &new, sizeof(new), 0);
}

// hand_on sends a packet to another node by the interface where it came in. A packet that may make no more hops stays here,
// so that none goes in circles, and so does one to a node that has no address of the family.
GLOBAL int hand_on(struct __sk_buff *skb, const union addr *service, __u32 number, __u32 counter)
{
	int ipv6 = skb->protocol == htons(ETH_IPV6);
	struct host *h = map_lookup(&hosts, &number);
	if (!h || !service)
		return NEXT;
	struct bpf_redir_neigh via = {};
	if (!ipv6 && !is_zero(&h->addr4)) {
		via.nh_family = FAMILY_IPV4;
		via.ipv4_nh = h->addr4.w[3];
	} else if (!is_zero(&h->addr6)) {
		via.nh_family = FAMILY_IPV6;
		__builtin_memcpy(via.ipv6_nh, &h->addr6, 16);
	} else {
		return NEXT;
	}
	if (!decrement(skb, ipv6))
		return NEXT;
	count(service, counter);
	return redirect_neigh(skb->ifindex, &via, sizeof(via), 0);
}

// from_node tells whether a packet comes from another node, which decided already where it goes.
INLINE int from_node(struct __sk_buff *skb)
{
	struct ethernet eth;
	if (skb_load(skb, 0, &eth, sizeof(eth)))
		return 0;
	struct mac mac = mac_of(eth.from);
	__u32 *host = map_lookup(&stations, &mac);
	return host && *host != SELF;
}

// is_unknown tells whether a packet belongs to a TCP connection that began before and of which this node knows nothing.
INLINE int is_unknown(const struct tuple *t, int began)
{
	const struct config *cfg = settings();
	return began && cfg && (cfg->flags & CONFIG_FLOWS) && !map_lookup(&flows, t);
}

// steer decides where the packets of a flow go. began says that the flow is a TCP connection and this is not its first
// packet.
GLOBAL int steer(struct __sk_buff *skb, const struct tuple *t, int began)
{
	if (!t)
		return NEXT;
	struct choice c = {};
	enum chosen chosen = choose(t, &c);
	if (chosen == REPLACED)
		chosen = choose(t, &c);
	if (chosen != CHOSEN)
		return NEXT;
	if (c.owner != SELF)
		return from_node(skb) ? NEXT : hand_on(skb, &t->daddr, c.owner, COUNT_HANDED_ON);
	if (c.second == NOBODY || !is_unknown(t, began))
		return NEXT;
	return hand_on(skb, &t->daddr, c.second, COUNT_SECOND);
}

// steer_error steers an ICMP error like the flow that it is about.
INLINE int steer_error(struct __sk_buff *skb, const struct packet *p, int ipv6)
{
	struct quoted q = {};
	if (p->t.proto != (ipv6 ? PROTO_ICMPV6 : PROTO_ICMP) || !read_quoted(skb, p, &q, ipv6) || !same_addr(&q.key.daddr, &p->t.daddr))
		return NEXT;
	return steer(skb, &q.key, q.key.proto == PROTO_TCP);
}

INLINE int steer_packet(struct __sk_buff *skb, int ipv6)
{
	struct packet p = {};
	switch (parse(skb, &p, ipv6)) {
	case PARSED:
		return steer(skb, &p.t, p.t.proto == PROTO_TCP && !(p.has_l4 && (p.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN));
	case OTHER:
		return steer_error(skb, &p, ipv6);
	}
	return NEXT;
}

GLOBAL int steer4(struct __sk_buff *skb)
{
	return steer_packet(skb, 0);
}

GLOBAL int steer6(struct __sk_buff *skb)
{
	return steer_packet(skb, 1);
}

#endif
