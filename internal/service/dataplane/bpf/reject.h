// Refusing a packet: it is turned into a TCP reset or an ICMP port unreachable error to its sender.
#ifndef MINATO_REJECT_H
#define MINATO_REJECT_H

#include "pseudo.h"
#include "rewrite.h"

// csum_is_partial finds out whether the sending device is to complete the checksum (CHECKSUM_PARTIAL). No field of the
// context tells that, but the helper that corrects a checksum for a change of the payload leaves such a one as it is.
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

INLINE void answer4(struct ipv4 *ip, const struct ipv4 *old, __u8 proto, __u16 len)
{
	ip->ver_ihl = 0x45;
	ip->len = htons(len);
	ip->frag = htons(IP_DONT);
	ip->ttl = 64;
	ip->proto = proto;
	ip->saddr = old->daddr;
	ip->daddr = old->saddr;
	ip->csum = csum_fold(csum_diff(0, 0, ip, sizeof(*ip), 0));
}

INLINE void answer6(struct ipv6 *ip, const struct ipv6 *old, __u8 proto, __u16 len)
{
	ip->ver_class_flow = htonl(IP6_VERSION);
	ip->len = htons(len);
	ip->next = proto;
	ip->hops = 64;
	ip->saddr = old->daddr;
	ip->daddr = old->saddr;
}

// put_answer replaces everything behind the Ethernet header.
INLINE int put_answer(struct __sk_buff *skb, const void *packet, __u32 len)
{
	return !change_tail(skb, ETH_HLEN_ + len, 0) && !skb_store(skb, ETH_HLEN_, packet, len, BPF_F_RECOMPUTE_CSUM);
}

// answer_tcp fills a reset except for its checksum. data is the length of the refused packet's payload.
INLINE void answer_tcp(struct tcp *out, const struct tcp *in, __u32 data)
{
	out->sport = in->dport;
	out->dport = in->sport;
	out->off = (sizeof(*out) / 4) << 4;
	if (in->flags & TCP_ACK) {
		out->flags = TCP_RST;
		out->seq = in->ack;
	} else {
		out->flags = TCP_RST | TCP_ACK;
		out->ack = htonl(ntohl(in->seq) + data + !!(in->flags & TCP_SYN) + !!(in->flags & TCP_FIN));
	}
}

// finish_tcp sets the checksum, or the sum of the pseudo header if the device is to complete it.
INLINE void finish_tcp(struct tcp *tcp, __u32 pseudo, int partial)
{
	if (partial)
		tcp->csum = ~csum_fold(pseudo);
	else
		tcp->csum = csum_fold(csum_diff(0, 0, tcp, sizeof(*tcp), pseudo));
}

INLINE __u32 beyond(__u32 all, __u32 used)
{
	return all > used ? all - used : 0;
}

GLOBAL int reset4(struct __sk_buff *skb, const struct packet *p, const struct ipv4 *old)
{
	struct tcp tcp;
	if (!p || !old || skb_load(skb, p->l4, &tcp, sizeof(tcp)) || (tcp.flags & TCP_RST))
		return 0;
	int partial = csum_is_partial(skb, p->l4 + 16);
	struct {
		struct ipv4 ip;
		struct tcp tcp;
	} out = {};
	answer4(&out.ip, old, PROTO_TCP, sizeof(out));
	answer_tcp(&out.tcp, &tcp, beyond(ntohs(old->len), sizeof(*old) + (tcp.off >> 4) * 4));
	finish_tcp(&out.tcp, pseudo4_sum(&out.ip, PROTO_TCP, sizeof(out.tcp)), partial);
	return put_answer(skb, &out, sizeof(out));
}

GLOBAL int reset6(struct __sk_buff *skb, const struct packet *p, const struct ipv6 *old)
{
	struct tcp tcp;
	if (!p || !old || skb_load(skb, p->l4, &tcp, sizeof(tcp)) || (tcp.flags & TCP_RST))
		return 0;
	int partial = csum_is_partial(skb, p->l4 + 16);
	struct {
		struct ipv6 ip;
		struct tcp tcp;
	} out = {};
	answer6(&out.ip, old, PROTO_TCP, sizeof(out.tcp));
	answer_tcp(&out.tcp, &tcp, beyond(ntohs(old->len), (tcp.off >> 4) * 4));
	finish_tcp(&out.tcp, pseudo6_sum(&out.ip, PROTO_TCP, sizeof(out.tcp)), partial);
	return put_answer(skb, &out, sizeof(out.ip) + sizeof(out.tcp)); // the structure has padding at its end
}

// unreachable4 makes an ICMP error. If the device is to complete the checksum of the refused UDP packet, it writes the sum to
// the same offset, where the ICMP header has unused bytes, and the ICMP checksum stays valid.
GLOBAL int unreachable4(struct __sk_buff *skb, const struct packet *p, const struct ipv4 *old)
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
	answer4(&out.ip, old, PROTO_ICMP, sizeof(out));
	out.icmp.type = 3;
	out.icmp.code = 3;
	out.icmp.csum = csum_fold(csum_diff(0, 0, &out.icmp, sizeof(out) - sizeof(out.ip), 0));
	return put_answer(skb, &out, sizeof(out));
}

// unreachable6 does the same for ICMPv6, whose checksum covers the addresses too. For a device that completes the checksum,
// the sum of the pseudo header must be where UDP's checksum was: in the last two unused bytes of the ICMP header.
GLOBAL int unreachable6(struct __sk_buff *skb, const struct packet *p, const struct ipv6 *old)
{
	struct {
		struct ipv6 ip;
		struct icmp icmp;
		struct ipv6 inner;
		struct udp udp;
	} out = {};
	if (!p || !old || skb_load(skb, p->l4, &out.udp, sizeof(out.udp)))
		return 0;
	int partial = csum_is_partial(skb, p->l4 + 6);
	__u16 len = sizeof(out) - sizeof(out.ip);
	out.inner = *old;
	answer6(&out.ip, old, PROTO_ICMPV6, len);
	out.icmp.type = 1;
	out.icmp.code = 4;
	__u32 sum = pseudo6_sum(&out.ip, PROTO_ICMPV6, len);
	if (partial)
		out.icmp.unused[1] = ~csum_fold(sum);
	else
		out.icmp.csum = csum_fold(csum_diff(0, 0, &out.icmp, len, sum));
	return put_answer(skb, &out, sizeof(out));
}

// reject4 and reject6 answer a packet. Fragments, and packets with IP options or extension headers, are dropped instead.
GLOBAL int reject4(struct __sk_buff *skb, const struct packet *p)
{
	struct config *cfg = settings();
	struct ipv4 ip;
	count(COUNT_REJECT);
	if (!p || !cfg || p->fragment || skb_load(skb, ETH_HLEN_, &ip, sizeof(ip)) || ip.ver_ihl != 0x45)
		return SHOT;
	int ok = p->t.proto == PROTO_TCP ? reset4(skb, p, &ip) : unreachable4(skb, p, &ip);
	return ok ? inject(skb, cfg) : SHOT;
}

GLOBAL int reject6(struct __sk_buff *skb, const struct packet *p)
{
	struct config *cfg = settings();
	struct ipv6 ip;
	count(COUNT_REJECT);
	if (!p || !cfg || p->fragment || skb_load(skb, ETH_HLEN_, &ip, sizeof(ip)) || p->l4 != ETH_HLEN_ + sizeof(ip))
		return SHOT;
	int ok = p->t.proto == PROTO_TCP ? reset6(skb, p, &ip) : unreachable6(skb, p, &ip);
	return ok ? inject(skb, cfg) : SHOT;
}

INLINE int reject(struct __sk_buff *skb, const struct packet *p, int ipv6)
{
	return ipv6 ? reject6(skb, p) : reject4(skb, p);
}

#endif
