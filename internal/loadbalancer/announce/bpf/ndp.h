// Neighbour Discovery: the same for IPv6 as ARP for IPv4.
#ifndef MINATO_ANNOUNCE_NDP_H
#define MINATO_ANNOUNCE_NDP_H

#include "arp.h"
#include "pseudo.h"

// A solicitation or an advertisement, up to its options.
struct neighbour {
	__u8 type;
	__u8 code;
	__be16 csum;
	__be32 flags;
	union addr target;
};

struct mac_option {
	__u8 type;
	__u8 len; // in units of 8 bytes
	__u8 mac[6];
};

enum { SOLICITATION = 135, ADVERTISEMENT = 136, TARGET_MAC = 2 };

enum { ADVERTISE_SOLICITED = 1u << 30, ADVERTISE_OVERRIDE = 1u << 29 };

enum { ND_AT = ETH_HLEN_ + sizeof(struct ipv6), ND_HOPS = 255 };

// A solicitation with more options than fit is left to the kernel.
#define ND_MAX 128

union message {
	struct neighbour head;
	__u8 b[ND_MAX];
};

// read_message reads the ICMPv6 message behind the IPv6 header and checks what RFC 4861 demands, other than the hop limit. It
// returns its type, or 0.
INLINE int read_message(struct __sk_buff *skb, const struct ipv6 *ip, union message *m)
{
	__u32 len = ntohs(ip->len);
	if (len < sizeof(m->head) || len > sizeof(*m))
		return 0;
	if (skb_load(skb, ND_AT, m, len) || m->head.code || m->head.target.b[0] == 0xff)
		return 0;
	// What is behind the message is zero and changes nothing.
	if (csum_fold(csum_diff(0, 0, (void *)m, sizeof(*m), pseudo6_sum(ip, PROTO_ICMPV6, len))))
		return 0;
	return m->head.type;
}

INLINE void set_all_nodes(union addr *a)
{
	a->d[0] = a->d[1] = 0;
	a->b[0] = 0xff;
	a->b[1] = 2;
	a->b[15] = 1;
}

// is_solicited_node tells whether a is the group in which the owner of target is.
INLINE int is_solicited_node(const union addr *a, const union addr *target)
{
	return a->w[0] == htonl(0xff020000) && a->w[1] == 0 && a->w[2] == htonl(1) && a->b[12] == 0xff && a->b[13] == target->b[13] &&
	       a->b[14] == target->b[14] && a->b[15] == target->b[15];
}

// advertise turns a solicitation into the advertisement that answers it. Without a source address it comes from somebody who
// wants the address, and the answer goes to all nodes.
GLOBAL int advertise(struct __sk_buff *skb, const struct ipv6 *ip, const union addr *target, const struct mac *own)
{
	struct {
		struct ethernet eth;
		struct ipv6 ip;
		struct neighbour nd;
		struct mac_option option;
	} __attribute__((packed)) out = {};
	if (!ip || !target || !own || skb_load(skb, 0, &out.eth, sizeof(out.eth)))
		return NEXT;
	__u32 flags = ADVERTISE_OVERRIDE;
	union addr to = ip->saddr;
	if (is_zero(&to)) {
		set_all_nodes(&to);
		out.eth.to[0] = out.eth.to[1] = 0x33;
		out.eth.to[2] = out.eth.to[3] = out.eth.to[4] = 0;
		out.eth.to[5] = 1;
	} else {
		flags |= ADVERTISE_SOLICITED;
		__builtin_memcpy(out.eth.to, out.eth.from, 6);
	}
	__builtin_memcpy(out.eth.from, own->b, 6);
	__u16 len = sizeof(out.nd) + sizeof(out.option);
	out.ip.ver_class_flow = htonl(IP6_VERSION);
	out.ip.len = htons(len);
	out.ip.next = PROTO_ICMPV6;
	out.ip.hops = ND_HOPS;
	out.ip.saddr = *target;
	out.ip.daddr = to;
	out.nd.type = ADVERTISEMENT;
	out.nd.flags = htonl(flags);
	out.nd.target = *target;
	out.option.type = TARGET_MAC;
	out.option.len = sizeof(out.option) / 8;
	__builtin_memcpy(out.option.mac, own->b, 6);
	struct {
		struct pseudo6 pseudo;
		struct neighbour nd;
		struct mac_option option;
	} sum = {
		.pseudo = { .addrs = { *target, to }, .len = htonl(len), .proto = htonl(PROTO_ICMPV6) },
		.nd = out.nd, .option = out.option,
	};
	out.nd.csum = csum_fold(csum_diff(0, 0, (void *)&sum, sizeof(sum), 0));
	if (change_tail(skb, sizeof(out), 0) || skb_store(skb, 0, &out, sizeof(out), BPF_F_RECOMPUTE_CSUM))
		return SHOT;
	return redirect(skb->ifindex, 0);
}

// solicited decides on a solicitation that is valid.
INLINE int solicited(struct __sk_buff *skb, const struct ipv6 *ip, const union addr *target)
{
	if (skb->pkt_type != PACKET_HOST_ && skb->pkt_type != PACKET_MULTICAST_)
		return NEXT;
	if (is_zero(&ip->saddr) && !is_solicited_node(&ip->daddr, target))
		return NEXT;
	struct link *l = answering(skb, target);
	if (!l)
		return NEXT;
	count(target, COUNT_REQUEST);
	if (is_silent())
		return NEXT;
	count(target, COUNT_REPLY);
	return advertise(skb, ip, target, &l->mac);
}

// neighbours handles an ICMPv6 packet that passed no router.
GLOBAL int neighbours(struct __sk_buff *skb)
{
	struct ipv6 ip;
	struct ethernet eth;
	union message m = {};
	if (skb_load(skb, ETH_HLEN_, &ip, sizeof(ip)) || skb_load(skb, 0, &eth, sizeof(eth)) || is_group(eth.from))
		return NEXT;
	struct mac from = mac_of(eth.from);
	union addr target;
	switch (read_message(skb, &ip, &m)) {
	case ADVERTISEMENT:
		target = m.head.target;
		claim(skb, &target, &from);
		return NEXT;
	case SOLICITATION:
		if (!is_zero(&ip.saddr))
			claim(skb, &ip.saddr, &from);
		target = m.head.target;
		return solicited(skb, &ip, &target);
	}
	return NEXT;
}

#endif
