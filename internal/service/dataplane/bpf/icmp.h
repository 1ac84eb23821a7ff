// ICMP errors about translated packets: they quote the packet as it was where the error arose, and must quote it to
// their receiver as that one sent it, or it would not know the connection.
#ifndef MINATO_ICMP_H
#define MINATO_ICMP_H

#include "flow.h"
#include "rewrite.h"

INLINE int is_icmp_error(__u8 type)
{
	return type == 3 || type == 11 || type == 12;
}

// translate_icmp rewrites the error and the packet it quotes. An error travels the way of the quoted packet's answers,
// so the entry to use is that of the quoted tuple turned around.
GLOBAL int translate_icmp(struct __sk_buff *skb, const struct packet *p, int in_place)
{
	struct icmp icmp;
	struct ipv4 inner;
	struct ports ports;
	if (!p || !p->has_l4 || skb_load(skb, p->l4, &icmp, sizeof(icmp)) || !is_icmp_error(icmp.type))
		return 0;
	__u32 inner_at = p->l4 + sizeof(icmp);
	if (skb_load(skb, inner_at, &inner, sizeof(inner)) || (inner.proto != PROTO_TCP && inner.proto != PROTO_UDP))
		return 0;
	__u32 ports_at = inner_at + (inner.ver_ihl & 15) * 4;
	if ((ntohs(inner.frag) & IP_OFFSET) || skb_load(skb, ports_at, &ports, sizeof(ports)))
		return 0;
	struct tuple key = { .sport = ports.dport, .dport = ports.sport, .proto = inner.proto };
	set_addr4(&key.saddr, inner.daddr);
	set_addr4(&key.daddr, inner.saddr);
	struct flow *f = map_lookup(&flows, &key);
	if (!f || (in_place && !same_addr(&f->daddr, &key.daddr)))
		return 0;
	struct flow to = *f;

	// The quoted header's own checksum makes up for the change of its addresses, so ICMP's sum sees the ports only.
	__be32 from_addrs[2] = { inner.saddr, inner.daddr };
	__be32 to_addrs[2] = { to.daddr.w[3], to.saddr.w[3] };
	__s64 diff = csum_diff(from_addrs, 8, to_addrs, 8, 0);
	l3_csum(skb, inner_at + 10, 0, diff, 0);
	skb_store(skb, inner_at + 12, to_addrs, sizeof(to_addrs), 0);
	struct ports out = { .sport = to.dport, .dport = to.sport };
	__u32 old = (__u32)ports.dport << 16 | ports.sport;
	__u32 new = (__u32)out.dport << 16 | out.sport;
	l4_csum(skb, p->l4 + 2, old, new, sizeof(__u32));
	skb_store(skb, ports_at, &out, sizeof(out), 0);

	// A router on the way keeps its address; the peer itself takes the one under which the receiver knows it.
	union addr source = p->t.saddr;
	if (same_addr(&source, &key.saddr))
		source = to.saddr;
	rewrite_l3(skb, &p->t.saddr, &p->t.daddr, &source, &to.daddr);
	return 1;
}

#endif
