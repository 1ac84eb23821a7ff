// The programs at the uplinks of a node. They see every packet that comes in, so what is not theirs has to pass in a few
// instructions: one look-up of the destination.
#include "steer.h"

// arrived decides on a packet to a unicast address.
INLINE int arrived(struct __sk_buff *skb, const union addr *to, int ipv6)
{
	struct address *a = map_lookup(&addresses, to);
	if (!a || skb->pkt_type != PACKET_HOST_)
		return NEXT;
	__u32 flags = a->flags;
	if (flags & ADDRESS_SELF) {
		int sent = ipv6 ? probe6(skb) : probe4(skb);
		if (sent != NEXT)
			return sent;
	}
	if (flags & ADDRESS_SPREAD)
		return ipv6 ? steer6(skb) : steer4(skb);
	return NEXT;
}

// Each family has its own program, so that the verifier need not check IPv6's in a cluster without IPv6. A VLAN's packets
// belong to the VLAN's interface.
SEC("tc") int uplink(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return NEXT;
	if (skb->protocol == htons(ETH_ARP_))
		return arp(skb);
	if (skb->protocol != htons(ETH_IPV4))
		return NEXT;
	__be32 to;
	if (skb_load(skb, ETH_HLEN_ + 16, &to, sizeof(to)))
		return NEXT;
	union addr addr;
	set_addr4(&addr, to);
	return arrived(skb, &addr, 0);
}

SEC("tc") int uplink6(struct __sk_buff *skb)
{
	if (skb->vlan_present || skb->protocol != htons(ETH_IPV6))
		return NEXT;
	struct {
		__u8 next;
		__u8 hops;
		union addr saddr;
		union addr daddr;
	} __attribute__((packed)) ip;
	if (skb_load(skb, ETH_HLEN_ + 6, &ip, sizeof(ip)))
		return NEXT;
	if (ip.next == PROTO_ICMPV6 && ip.hops == ND_HOPS) {
		int done = neighbours(skb);
		if (done != NEXT)
			return done;
	}
	union addr addr;
	__builtin_memcpy(&addr, &ip.daddr, sizeof(addr));
	return arrived(skb, &addr, 1);
}

char _license[] SEC("license") = "GPL";
