// Reading a packet's addresses and ports, and whether it is a fragment. This calls helpers rather than using pointers into
// the packet, because the headers of a segmentation-offloaded packet need not be in its linear part.
#ifndef MINATO_PARSE_H
#define MINATO_PARSE_H

#include "addr.h"

// The first fragment of a packet has the ports; the others are found by this key. The protocol is part of it in IPv4 alone;
// in IPv6 it is 0.
struct fragment_key {
	union addr saddr;
	union addr daddr;
	__be32 id; // 16 bits of it in IPv4
	__u8 proto;
	__u8 pad[3];
};

struct fragment {
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

struct ipv4 {
	__u8 ver_ihl;
	__u8 tos;
	__be16 len;
	__be16 id;
	__be16 frag;
	__u8 ttl;
	__u8 proto;
	__be16 csum;
	__be32 saddr;
	__be32 daddr;
};

struct ports {
	__be16 sport;
	__be16 dport;
};

struct tcp {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 off;
	__u8 flags;
	__be16 window;
	__be16 csum;
	__be16 urgent;
};

struct udp {
	__be16 sport;
	__be16 dport;
	__be16 len;
	__be16 csum;
};

struct icmp {
	__u8 type;
	__u8 code;
	__be16 csum;
	__be16 unused[2]; // in port unreachable errors
};

enum { IP_MORE = 0x2000, IP_OFFSET = 0x1fff, IP_DONT = 0x4000 };

struct packet {
	struct tuple t;
	__u32 l4; // offset of the transport header
	__u8 tcp_flags;
	__u8 has_l4; // 0 in fragments other than the first one
	__u8 fragment;
	__u8 l4_len; // of the transport header
	__u8 hops; // TTL or hop limit
	__u8 ip_proto; // of the IP header; in IPv6 it may be an extension header's
	__be16 csum; // of the IPv4 header
};

enum parsed { PARSED, OTHER, BROKEN, ORPHAN };

// ports_of reads the transport header. A packet that is too short for it is BROKEN, even if it is a first fragment that has
// the ports.
INLINE int ports_of(struct __sk_buff *skb, struct packet *p)
{
	if (p->t.proto == PROTO_TCP) {
		struct tcp tcp;
		if (skb_load(skb, p->l4, &tcp, sizeof(tcp)))
			return BROKEN;
		p->t.sport = tcp.sport;
		p->t.dport = tcp.dport;
		p->tcp_flags = tcp.flags;
		p->l4_len = (tcp.off >> 4) * 4;
		return PARSED;
	}
	struct udp udp;
	if (skb_load(skb, p->l4, &udp, sizeof(udp)))
		return BROKEN;
	p->t.sport = udp.sport;
	p->t.dport = udp.dport;
	p->l4_len = sizeof(udp);
	return PARSED;
}

// ports_of_fragment keeps the ports of a packet's first fragment, and finds them for the other fragments.
INLINE int ports_of_fragment(struct __sk_buff *skb, struct packet *p, const struct fragment_key *key)
{
	if (!p->has_l4) {
		struct fragment *f = map_lookup(&fragments, key);
		if (!f)
			return ORPHAN;
		p->t.sport = f->sport;
		p->t.dport = f->dport;
		p->t.proto = f->proto;
		return PARSED;
	}
	int parsed = ports_of(skb, p);
	if (parsed == PARSED) {
		struct fragment f = { .sport = p->t.sport, .dport = p->t.dport, .proto = p->t.proto };
		map_update(&fragments, key, &f, 0);
	}
	return parsed;
}

// parse4 reads an IPv4 packet. It returns OTHER for a protocol other than TCP and UDP, and ORPHAN for a fragment whose first
// fragment was not seen.
INLINE int parse4(struct __sk_buff *skb, struct packet *p)
{
	struct ipv4 ip;
	if (skb_load(skb, ETH_HLEN_, &ip, sizeof(ip)) || (ip.ver_ihl >> 4) != 4)
		return BROKEN;
	p->l4 = ETH_HLEN_ + (ip.ver_ihl & 15) * 4;
	set_addr4(&p->t.saddr, ip.saddr);
	set_addr4(&p->t.daddr, ip.daddr);
	p->t.proto = ip.proto;
	p->hops = ip.ttl;
	p->ip_proto = ip.proto;
	p->csum = ip.csum;
	__u16 frag = ntohs(ip.frag) & (IP_MORE | IP_OFFSET);
	p->fragment = frag != 0;
	p->has_l4 = (frag & IP_OFFSET) == 0;
	if (ip.proto != PROTO_TCP && ip.proto != PROTO_UDP)
		return OTHER;
	if (!frag)
		return ports_of(skb, p);
	struct fragment_key key = { .saddr = p->t.saddr, .daddr = p->t.daddr, .id = ip.id, .proto = ip.proto };
	return ports_of_fragment(skb, p, &key);
}

#endif
