// Reading the packet that an ICMP error quotes.
#ifndef MINATO_QUOTED_H
#define MINATO_QUOTED_H

#include "parse6.h"

// is_icmp_error leaves redirects out, which are valid on the link that they come from alone.
INLINE int is_icmp_error(__u8 type, int ipv6)
{
	return ipv6 ? type >= 1 && type <= 4 : type == 3 || type == 11 || type == 12;
}

// quoted is the packet that an error quotes.
struct quoted {
	struct tuple key; // of the conntrack entry of its replies
	struct addrs addrs; // as quoted
	struct ports ports;
	__u32 at;
	__u32 ports_at;
};

INLINE int quoted4(struct __sk_buff *skb, struct quoted *q)
{
	struct ipv4 ip;
	if (skb_load(skb, q->at, &ip, sizeof(ip)) || (ntohs(ip.frag) & IP_OFFSET))
		return 0;
	q->key.proto = ip.proto;
	q->ports_at = q->at + (ip.ver_ihl & 15) * 4;
	set_addr4(&q->addrs.saddr, ip.saddr);
	set_addr4(&q->addrs.daddr, ip.daddr);
	return 1;
}

INLINE int quoted6(struct __sk_buff *skb, struct quoted *q)
{
	struct ipv6 ip;
	if (skb_load(skb, q->at, &ip, sizeof(ip)) || is_addr4(&ip.saddr) || is_addr4(&ip.daddr))
		return 0;
	struct headers h = { .at = q->at + sizeof(ip), .proto = ip.next };
	if (!skip_extensions(skb, &h) || h.later)
		return 0;
	q->key.proto = h.proto;
	q->ports_at = h.at;
	q->addrs.saddr = ip.saddr;
	q->addrs.daddr = ip.daddr;
	return 1;
}

// read_quoted reads the packet that an error quotes. It returns 0 if this is no error, or none about TCP or UDP.
INLINE int read_quoted(struct __sk_buff *skb, const struct packet *p, struct quoted *q, int ipv6)
{
	struct icmp icmp;
	if (!p || !p->has_l4 || skb_load(skb, p->l4, &icmp, sizeof(icmp)) || !is_icmp_error(icmp.type, ipv6))
		return 0;
	q->at = p->l4 + sizeof(icmp);
	if (!(ipv6 ? quoted6(skb, q) : quoted4(skb, q)))
		return 0;
	if (q->key.proto != PROTO_TCP && q->key.proto != PROTO_UDP)
		return 0;
	if (skb_load(skb, q->ports_at, &q->ports, sizeof(q->ports)))
		return 0;
	q->key.saddr = q->addrs.daddr;
	q->key.daddr = q->addrs.saddr;
	q->key.sport = q->ports.dport;
	q->key.dport = q->ports.sport;
	return 1;
}

#endif
