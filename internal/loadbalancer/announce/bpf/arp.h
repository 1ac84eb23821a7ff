// ARP: requests for addresses that this node announces are answered, claims of others are told.
#ifndef MINATO_ANNOUNCE_ARP_H
#define MINATO_ANNOUNCE_ARP_H

#include "claim.h"

struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 op;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
};

enum { ARP_REQUEST = 1, ARP_REPLY = 2, ARP_ETHERNET = 1 };

INLINE union addr addr4_of(const __u8 *b)
{
	union addr a;
	__be32 v4;
	__builtin_memcpy(&v4, b, 4);
	set_addr4(&a, v4);
	return a;
}

INLINE int is_arp(const struct arp *a)
{
	return a->hardware == htons(ARP_ETHERNET) && a->protocol == htons(ETH_IPV4) && a->hardware_len == 6 && a->protocol_len == 4;
}

// answer_arp turns a request into the reply to it.
INLINE int answer_arp(struct __sk_buff *skb, const struct arp *request, const struct mac *own)
{
	struct {
		struct ethernet eth;
		struct arp arp;
	} out = { .eth.type = htons(ETH_ARP_), .arp = *request };
	__builtin_memcpy(out.eth.to, request->sender_mac, 6);
	__builtin_memcpy(out.eth.from, own->b, 6);
	out.arp.op = htons(ARP_REPLY);
	__builtin_memcpy(out.arp.sender_mac, own->b, 6);
	__builtin_memcpy(out.arp.sender, request->target, 4);
	__builtin_memcpy(out.arp.target_mac, request->sender_mac, 6);
	__builtin_memcpy(out.arp.target, request->sender, 4);
	if (skb_store(skb, 0, &out, sizeof(out), BPF_F_RECOMPUTE_CSUM))
		return SHOT;
	return redirect(skb->ifindex, 0);
}

// A request whose sender and target are the same address is an announcement, and asks for nothing. One whose sender is
// 0.0.0.0 is a probe of somebody who wants the address, and must be answered.
GLOBAL int arp(struct __sk_buff *skb)
{
	struct arp a;
	if (skb_load(skb, ETH_HLEN_, &a, sizeof(a)) || !is_arp(&a))
		return NEXT;
	union addr sender = addr4_of(a.sender), target = addr4_of(a.target);
	if (sender.w[3]) {
		struct mac mac = mac_of(a.sender_mac);
		claim(skb, &sender, &mac);
	}
	if (a.op != htons(ARP_REQUEST) || sender.w[3] == target.w[3] || is_group(a.sender_mac))
		return NEXT;
	if (skb->pkt_type != PACKET_HOST_ && skb->pkt_type != PACKET_BROADCAST_)
		return NEXT;
	struct link *l = answering(skb, &target);
	if (!l)
		return NEXT;
	count(&target, COUNT_REQUEST);
	if (is_silent())
		return NEXT;
	count(&target, COUNT_REPLY);
	return answer_arp(skb, &a, &l->mac);
}

#endif
