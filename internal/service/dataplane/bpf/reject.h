// Turning a packet into the answer that nobody is there: a TCP reset, or ICMP port unreachable.
#ifndef MINATO_REJECT_H
#define MINATO_REJECT_H

#include "rewrite.h"

struct pseudo {
	__be32 saddr;
	__be32 daddr;
	__u8 zero;
	__u8 proto;
	__be16 len;
};

// csum_is_partial finds out whether the checksum is left to the sending device. There is no field that tells, but
// adjusting for a change of the payload leaves such a checksum as it is.
INLINE int csum_is_partial(struct __sk_buff *skb, __u32 at)
{
	__be16 before, after;
	if (skb_load(skb, at, &before, sizeof(before)))
		return 0;
	l4_csum(skb, at, 0, 1, 2);
	if (skb_load(skb, at, &after, sizeof(after)))
		return 0;
	return before == after;
}

INLINE void answer_header(struct ipv4 *ip, __be32 saddr, __be32 daddr, __u8 proto, __u16 len)
{
	ip->ver_ihl = 0x45;
	ip->len = htons(len);
	ip->frag = htons(IP_DONT);
	ip->ttl = 64;
	ip->proto = proto;
	ip->saddr = saddr;
	ip->daddr = daddr;
	ip->csum = csum_fold(csum_diff(0, 0, ip, sizeof(*ip), 0));
}

GLOBAL int reset(struct __sk_buff *skb, const struct packet *p, const struct ipv4 *old)
{
	struct tcp tcp;
	if (!p || !old || skb_load(skb, p->l4, &tcp, sizeof(tcp)) || (tcp.flags & TCP_RST))
		return 0;
	int partial = csum_is_partial(skb, p->l4 + 16);
	__u32 used = sizeof(*old) + (tcp.off >> 4) * 4;
	__u32 data = ntohs(old->len) > used ? ntohs(old->len) - used : 0;
	struct {
		struct ipv4 ip;
		struct tcp tcp;
	} out = {};
	answer_header(&out.ip, old->daddr, old->saddr, PROTO_TCP, sizeof(out));
	out.tcp.sport = tcp.dport;
	out.tcp.dport = tcp.sport;
	out.tcp.off = (sizeof(struct tcp) / 4) << 4;
	if (tcp.flags & TCP_ACK) {
		out.tcp.flags = TCP_RST;
		out.tcp.seq = tcp.ack;
	} else {
		out.tcp.flags = TCP_RST | TCP_ACK;
		out.tcp.ack = htonl(ntohl(tcp.seq) + data + !!(tcp.flags & TCP_SYN) + !!(tcp.flags & TCP_FIN));
	}
	struct pseudo ps = { .saddr = out.ip.saddr, .daddr = out.ip.daddr, .proto = PROTO_TCP, .len = htons(sizeof(struct tcp)) };
	__u32 sum = csum_diff(0, 0, &ps, sizeof(ps), 0);
	if (partial)
		out.tcp.csum = ~csum_fold(sum);
	else
		out.tcp.csum = csum_fold(csum_diff(0, 0, &out.tcp, sizeof(out.tcp), sum));
	if (change_tail(skb, ETH_HLEN_ + sizeof(out), 0))
		return 0;
	return !skb_store(skb, ETH_HLEN_, &out, sizeof(out), BPF_F_RECOMPUTE_CSUM);
}

// unreachable needs no case for an unfinished UDP checksum: the device would write what it sums up into the unused
// bytes of the ICMP header, and whatever makes the sum come out there leaves the message valid.
GLOBAL int unreachable(struct __sk_buff *skb, const struct packet *p, const struct ipv4 *old)
{
	struct {
		struct ipv4 ip;
		struct icmp icmp;
		struct ipv4 inner;
		struct udp udp;
	} out = {};
	if (!p || !old || skb_load(skb, p->l4, &out.udp, sizeof(out.udp)))
		return 0;
	out.inner = *old;
	answer_header(&out.ip, old->daddr, old->saddr, PROTO_ICMP, sizeof(out));
	out.icmp.type = 3;
	out.icmp.code = 3;
	out.icmp.csum = csum_fold(csum_diff(0, 0, &out.icmp, sizeof(out) - sizeof(out.ip), 0));
	if (change_tail(skb, ETH_HLEN_ + sizeof(out), 0))
		return 0;
	return !skb_store(skb, ETH_HLEN_, &out, sizeof(out), BPF_F_RECOMPUTE_CSUM);
}

// reject answers the packet. Pieces of fragmented packets and IP options are not worth an answer.
GLOBAL int reject(struct __sk_buff *skb, const struct packet *p)
{
	struct config *cfg = settings();
	struct ipv4 ip;
	count(COUNT_REJECT);
	if (!p || !cfg || p->fragment || skb_load(skb, ETH_HLEN_, &ip, sizeof(ip)) || ip.ver_ihl != 0x45)
		return SHOT;
	int ok = p->t.proto == PROTO_TCP ? reset(skb, p, &ip) : unreachable(skb, p, &ip);
	return ok ? inject(skb, cfg) : SHOT;
}

#endif
