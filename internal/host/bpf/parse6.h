// Reading an IPv6 packet, past the extension headers between the IPv6 header and the transport header.
#ifndef MINATO_PARSE6_H
#define MINATO_PARSE6_H

#include "parse.h"

struct ipv6 {
	__be32 ver_class_flow;
	__be16 len; // of what follows
	__u8 next;
	__u8 hops;
	union addr saddr;
	union addr daddr;
};

struct extension {
	__u8 next;
	__u8 len; // in units of 8 bytes beyond the first 8
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset; // with flags in the last 3 bits
	__be32 id;
};

enum { IP6_MORE = 1, IP6_OFFSET = 0xfff8, IP6_VERSION = 6u << 28 };

// A packet with more extension headers than this is not translated.
#define EXTENSIONS 6

// headers is a position in the chain of headers; proto is the protocol of the header there.
struct headers {
	__u32 at;
	__be32 id; // of a fragmented packet
	__u8 proto;
	__u8 fragment;
	__u8 later; // this is a fragment other than the first one, and has no transport header
	__u8 pad;
};

// skip_extensions moves to the first header that is no extension header. It returns 0 if there are too many before it.
GLOBAL int skip_extensions(struct __sk_buff *skb, struct headers *h)
{
	if (!h)
		return 0;
	for (int i = 0; i < EXTENSIONS; i++) {
		if (h->proto == PROTO_FRAGMENT) {
			struct fragment_header f;
			if (skb_load(skb, h->at, &f, sizeof(f)))
				return 0;
			__u16 offset = ntohs(f.offset);
			h->proto = f.next;
			h->at += sizeof(f);
			h->id = f.id;
			h->fragment = (offset & (IP6_OFFSET | IP6_MORE)) != 0;
			h->later = (offset & IP6_OFFSET) != 0;
			if (h->later)
				return 1;
		} else if (h->proto == PROTO_HOP_BY_HOP || h->proto == PROTO_ROUTING || h->proto == PROTO_DESTINATION) {
			struct extension e;
			if (skb_load(skb, h->at, &e, sizeof(e)))
				return 0;
			h->proto = e.next;
			h->at += (e.len + 1) * 8;
		} else {
			return 1;
		}
	}
	return h->proto == PROTO_TCP || h->proto == PROTO_UDP || h->proto == PROTO_ICMPV6;
}

// parse6 reads an IPv6 packet, like parse4. The addresses are those of the IPv6 header, even if there is a routing header.
// An IPv4-mapped address is not valid in a packet, and would be taken for the IPv4 address here: such a packet is BROKEN.
GLOBAL int parse6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6 ip;
	if (!p || skb_load(skb, ETH_HLEN_, &ip, sizeof(ip)) || (ntohl(ip.ver_class_flow) >> 28) != 6)
		return BROKEN;
	p->t.saddr = ip.saddr;
	p->t.daddr = ip.daddr;
	p->hops = ip.hops;
	p->ip_proto = ip.next;
	if (is_addr4(&ip.saddr) || is_addr4(&ip.daddr))
		return BROKEN;
	struct headers h = { .at = ETH_HLEN_ + sizeof(ip), .proto = ip.next };
	int known = skip_extensions(skb, &h);
	p->l4 = h.at;
	p->t.proto = h.proto;
	p->fragment = h.fragment;
	p->has_l4 = known && !h.later;
	if (h.later) {
		struct fragment_key key = { .saddr = ip.saddr, .daddr = ip.daddr, .id = h.id };
		return ports_of_fragment(skb, p, &key);
	}
	if (!known || (h.proto != PROTO_TCP && h.proto != PROTO_UDP))
		return OTHER;
	if (!h.fragment)
		return ports_of(skb, p);
	struct fragment_key key = { .saddr = ip.saddr, .daddr = ip.daddr, .id = h.id };
	return ports_of_fragment(skb, p, &key);
}

INLINE int parse(struct __sk_buff *skb, struct packet *p, int ipv6)
{
	return ipv6 ? parse6(skb, p) : parse4(skb, p);
}

// is_link_local tells whether an IPv6 address is a link-local or a multicast one.
INLINE int is_link_local(const union addr *a)
{
	return a->b[0] == 0xff || (a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80);
}

#endif
