// ICMP errors about translated packets. An error quotes the packet as it was where the error arose. Its receiver sent that
// packet with other addresses and ports, and finds the connection only if those are quoted.
#ifndef MINATO_ICMP_H
#define MINATO_ICMP_H

#include "flow.h"
#include "quoted.h"
#include "rewrite.h"

// rewrite_quoted changes the quoted addresses. In IPv4 the quoted header's own checksum changes by the opposite, so the
// ICMP checksum stays right; in IPv6 there is no header checksum, and ICMP's is corrected.
INLINE void rewrite_quoted(struct __sk_buff *skb, const struct packet *p, const struct quoted *q, const struct addrs *to, int ipv6)
{
	if (ipv6) {
		__s64 diff = csum_diff(&q->addrs, sizeof(q->addrs), to, sizeof(*to), 0);
		l4_csum(skb, p->l4 + 2, 0, diff, 0);
		skb_store(skb, q->at + 8, to, sizeof(*to), 0);
		return;
	}
	__be32 from4[2] = { q->addrs.saddr.w[3], q->addrs.daddr.w[3] };
	__be32 to4[2] = { to->saddr.w[3], to->daddr.w[3] };
	__s64 diff = csum_diff(from4, sizeof(from4), to4, sizeof(to4), 0);
	l3_csum(skb, q->at + 10, 0, diff, 0);
	skb_store(skb, q->at + 12, to4, sizeof(to4), 0);
}

// translate_error rewrites the error and the packet that it quotes. An error goes in the direction of the quoted packet's
// replies, so the conntrack entry to use is that of the replies.
INLINE int translate_error(struct __sk_buff *skb, const struct packet *p, int in_place, int ipv6)
{
	struct quoted q = {};
	if (!read_quoted(skb, p, &q, ipv6))
		return 0;
	struct flow *f = map_lookup(&flows, &q.key);
	if (!f || (in_place && !same_addr(&f->daddr, &q.key.daddr)))
		return 0;
	struct addrs to = { .saddr = f->daddr, .daddr = f->saddr };
	struct ports ports = { .sport = f->dport, .dport = f->sport };
	rewrite_quoted(skb, p, &q, &to, ipv6);
	__u32 old = (__u32)q.ports.dport << 16 | q.ports.sport;
	__u32 new = (__u32)ports.dport << 16 | ports.sport;
	l4_csum(skb, p->l4 + 2, old, new, sizeof(__u32));
	skb_store(skb, q.ports_at, &ports, sizeof(ports), 0);

	// An error of a router keeps the router's address. One of the peer itself gets the address by which the receiver
	// knows the peer.
	struct addrs outer = { .saddr = p->t.saddr, .daddr = to.saddr };
	if (same_addr(&outer.saddr, &q.key.saddr))
		outer.saddr = to.daddr;
	__s64 diff = rewrite_l3(skb, (const struct addrs *)&p->t, &outer, ipv6);
	if (ipv6) // ICMPv6's checksum covers the addresses
		l4_csum(skb, p->l4 + 2, 0, diff, BPF_F_PSEUDO_HDR);
	return 1;
}

GLOBAL int translate_error4(struct __sk_buff *skb, const struct packet *p, int in_place)
{
	return translate_error(skb, p, in_place, 0);
}

GLOBAL int translate_error6(struct __sk_buff *skb, const struct packet *p, int in_place)
{
	return translate_error(skb, p, in_place, 1);
}

// translate_icmp returns 0 for all packets that are not ICMP errors about a connection with a conntrack entry.
INLINE int translate_icmp(struct __sk_buff *skb, const struct packet *p, int in_place, int ipv6)
{
	if (ipv6)
		return p->t.proto == PROTO_ICMPV6 && translate_error6(skb, p, in_place);
	return p->t.proto == PROTO_ICMP && translate_error4(skb, p, in_place);
}

#endif
