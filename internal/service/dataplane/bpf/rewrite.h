// Changing a packet's addresses and ports, with the checksums that cover them.
#ifndef MINATO_REWRITE_H
#define MINATO_REWRITE_H

#include "parse6.h"

enum { IP_CSUM_AT = ETH_HLEN_ + 10, IP_SADDR_AT = ETH_HLEN_ + 12, IP6_SADDR_AT = ETH_HLEN_ + 8 };

// The source MAC address of rewritten packets, by which the program at svc1 knows that it must not look at them again.
#define SEEN_MAC_0 htons(0x026d)
#define SEEN_MAC_1 htons(0x6e73)
#define SEEN_MAC_2 htons(0x6565)

// rewrite_l3 replaces both addresses of the outer header and returns the difference for the transport's checksum.
INLINE __s64 rewrite_l3(struct __sk_buff *skb, const struct addrs *from, const struct addrs *to, int ipv6)
{
	if (ipv6) {
		skb_store(skb, IP6_SADDR_AT, to, sizeof(*to), 0);
		return csum_diff(from, sizeof(*from), to, sizeof(*to), 0);
	}
	__be32 from4[2] = { from->saddr.w[3], from->daddr.w[3] };
	__be32 to4[2] = { to->saddr.w[3], to->daddr.w[3] };
	__s64 diff = csum_diff(from4, sizeof(from4), to4, sizeof(to4), 0);
	l3_csum(skb, IP_CSUM_AT, 0, diff, 0);
	skb_store(skb, IP_SADDR_AT, to4, sizeof(to4), 0);
	return diff;
}

// The part of a packet that is written with one call. It includes the ports if no IP options or extension headers are in
// between.
struct head4 {
	__u8 hops;
	__u8 proto;
	__be16 csum;
	__be32 saddr;
	__be32 daddr;
	struct ports ports;
};

struct head6 {
	__u8 next;
	__u8 hops;
	struct addrs addrs;
	struct ports ports;
} __attribute__((packed));

enum { HEAD4_AT = ETH_HLEN_ + 8, HEAD6_AT = ETH_HLEN_ + 6 };

INLINE __u64 exchange(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

INLINE __u32 fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (__u32)((sum & 0xffffffff) + (sum >> 32));
}

// rewrite_l4 corrects the transport's checksum for new addresses, whose difference is diff, and for new ports. It returns
// whether the ports change. A checksum is corrected and never computed: that of a packet from a veth is only the sum of the
// pseudo header, and an IPv4 UDP packet may have none.
INLINE int rewrite_l4(struct __sk_buff *skb, const struct packet *p, struct ports ports, __u32 diff)
{
	if (!p->has_l4)
		return 0;
	int udp = p->t.proto == PROTO_UDP;
	__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 at = p->l4 + (udp ? 6 : 16);
	l4_csum(skb, at, 0, diff, flags | BPF_F_PSEUDO_HDR);
	__u32 old = (__u32)p->t.dport << 16 | p->t.sport;
	__u32 new = (__u32)ports.dport << 16 | ports.sport;
	if (old == new)
		return 0;
	l4_csum(skb, at, old, new, flags | sizeof(__u32));
	return 1;
}

// rewrite4 changes the addresses and ports of a packet and subtracts hops from its TTL.
GLOBAL int rewrite4(struct __sk_buff *skb, const struct packet *p, const struct flow *to, __u32 hops)
{
	if (!p || !to)
		return 0;
	struct ports ports = { .sport = to->sport, .dport = to->dport };
	struct head4 h = {
		.hops = p->hops - hops, .proto = p->ip_proto,
		.saddr = to->saddr.w[3], .daddr = to->daddr.w[3], .ports = ports,
	};
	__u64 diff = exchange(p->t.saddr.w[3], h.saddr) + exchange(p->t.daddr.w[3], h.daddr);
	// The TTL is the first byte of a 16-bit word of the checksum, which is the low one in host order.
	h.csum = csum_fold(fold32((__u16)~p->csum + diff + exchange(hops, 0)));
	int others = rewrite_l4(skb, p, ports, fold32(diff));
	int beside = p->l4 == ETH_HLEN_ + sizeof(struct ipv4);
	skb_store(skb, HEAD4_AT, &h, others && beside ? sizeof(h) : sizeof(h) - sizeof(h.ports), 0);
	if (others && !beside)
		skb_store(skb, p->l4, &ports, sizeof(ports), 0);
	return 0;
}

GLOBAL int rewrite6(struct __sk_buff *skb, const struct packet *p, const struct flow *to, __u32 hops)
{
	if (!p || !to)
		return 0;
	struct ports ports = { .sport = to->sport, .dport = to->dport };
	struct head6 h = {
		.hops = p->hops - hops, .next = p->ip_proto,
		.addrs = { .saddr = to->saddr, .daddr = to->daddr }, .ports = ports,
	};
	__u64 diff = 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		diff += exchange(p->t.saddr.w[i], to->saddr.w[i]) + exchange(p->t.daddr.w[i], to->daddr.w[i]);
	int others = rewrite_l4(skb, p, ports, fold32(diff));
	int beside = p->l4 == ETH_HLEN_ + sizeof(struct ipv6);
	skb_store(skb, HEAD6_AT, &h, others && beside ? sizeof(h) : sizeof(h) - sizeof(h.ports), 0);
	if (others && !beside)
		skb_store(skb, p->l4, &ports, sizeof(ports), 0);
	return 0;
}

INLINE void rewrite(struct __sk_buff *skb, const struct packet *p, const struct flow *to, __u32 hops, int ipv6)
{
	if (ipv6)
		rewrite6(skb, p, to, hops);
	else
		rewrite4(skb, p, to, hops);
}

// inject hands a rewritten packet to the kernel as if it had come in at svc1. Its new source may be an address of this node,
// which the kernel drops as spoofed at any other interface.
INLINE int inject(struct __sk_buff *skb, const struct config *cfg)
{
	if (!cfg->inject || skb->ifindex == cfg->inject)
		return PASS;
	struct {
		__u8 to[6];
		__be16 from[3];
	} macs;
	__builtin_memcpy(macs.to, cfg->mac, 6);
	macs.from[0] = SEEN_MAC_0;
	macs.from[1] = SEEN_MAC_1;
	macs.from[2] = SEEN_MAC_2;
	skb_store(skb, 0, &macs, sizeof(macs), 0);
	return redirect(cfg->inject, BPF_F_INGRESS);
}

INLINE int was_injected(struct __sk_buff *skb)
{
	__be16 mac[3];
	if (skb_load(skb, 6, mac, sizeof(mac)))
		return 0;
	return mac[0] == SEEN_MAC_0 && mac[1] == SEEN_MAC_1 && mac[2] == SEEN_MAC_2;
}

#endif
