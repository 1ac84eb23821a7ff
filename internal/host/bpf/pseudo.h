// The pseudo header, which checksums of transport protocols and of ICMPv6 cover.
#ifndef MINATO_PSEUDO_H
#define MINATO_PSEUDO_H

#include "parse6.h"

struct pseudo4 {
	__be32 saddr;
	__be32 daddr;
	__u8 zero;
	__u8 proto;
	__be16 len;
};

struct pseudo6 {
	struct addrs addrs;
	__be32 len;
	__be32 proto;
};

INLINE __u32 pseudo4_sum(const struct ipv4 *ip, __u8 proto, __u16 len)
{
	struct pseudo4 ps = { .saddr = ip->saddr, .daddr = ip->daddr, .proto = proto, .len = htons(len) };
	return csum_diff(0, 0, &ps, sizeof(ps), 0);
}

INLINE __u32 pseudo6_sum(const struct ipv6 *ip, __u8 proto, __u16 len)
{
	struct pseudo6 ps = { .addrs = { ip->saddr, ip->daddr }, .len = htonl(len), .proto = htonl(proto) };
	return csum_diff(0, 0, &ps, sizeof(ps), 0);
}

#endif
