// Addresses, and the addresses and ports of a packet.
#ifndef MINATO_ADDR_H
#define MINATO_ADDR_H

#include "base.h"

// An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d, in network order.
union addr {
	__u8 b[16];
	__be32 w[4];
	__u64 d[2];
};

// A source and a destination address: the first two fields of struct tuple, and of entries that replace them.
struct addrs {
	union addr saddr;
	union addr daddr;
};

// What tells one flow from others.
struct tuple {
	union addr saddr;
	union addr daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

INLINE int same_addr(const union addr *a, const union addr *b)
{
	return a->d[0] == b->d[0] && a->d[1] == b->d[1];
}

INLINE void set_addr4(union addr *a, __be32 v4)
{
	a->d[0] = 0;
	a->w[2] = htonl(0xffff);
	a->w[3] = v4;
}

INLINE int is_addr4(const union addr *a)
{
	return a->d[0] == 0 && a->w[2] == htonl(0xffff);
}

INLINE int is_loopback(const union addr *a)
{
	if (is_addr4(a))
		return a->b[12] == 127;
	return a->d[0] == 0 && a->w[2] == 0 && a->w[3] == htonl(1);
}

#endif
