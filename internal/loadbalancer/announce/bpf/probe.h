// Liveness probes of other nodes. They are sent back from here, so that a node is alive while its kernel and its cable are,
// also while the agent is restarted; where it has to renew that, not for ever.
#ifndef MINATO_ANNOUNCE_PROBE_H
#define MINATO_ANNOUNCE_PROBE_H

#include "ndp.h"

// The payload of a probe. Its answer has another magic number, so that it is never answered itself.
struct probe {
	__be32 magic;
	__u8 nonce[8];
} __attribute__((packed));

enum { PROBE_MAGIC = 0x6d6e7031, ANSWER_MAGIC = 0x6d6e6131 };

// A probe that passed a router has a lower TTL than this.
enum { PROBE_HOPS = 255 };

// learn notes the hardware address of a node.
INLINE void learn(struct peer *p, const struct mac *from)
{
	if (same_mac(&p->mac, from))
		return;
	__u32 *host = map_lookup(&stations, from);
	if (host && *host == SELF)
		return;
	struct mac before = p->mac;
	host = map_lookup(&stations, &before);
	if (host && *host == p->host)
		map_delete(&stations, &before);
	__u32 number = p->host;
	if (map_update(&stations, from, &number, BPF_ANY))
		return;
	__builtin_memcpy(p->mac.b, from->b, 6);
}

// return_probe swaps the ends of a probe from a node. at is where the UDP header is.
GLOBAL int return_probe(struct __sk_buff *skb, const union addr *source, __u32 at)
{
	const struct config *cfg = settings();
	struct {
		struct udp udp;
		struct probe probe;
	} in;
	struct ethernet eth;
	if (!source || !cfg || skb_load(skb, at, &in, sizeof(in)) || skb_load(skb, 0, &eth, sizeof(eth)))
		return NEXT;
	if (has_expired(cfg, 0) || in.udp.dport != cfg->probe_port || in.probe.magic != htonl(PROBE_MAGIC) || is_group(eth.from))
		return NEXT;
	struct peer *p = map_lookup(&peers, source);
	if (!p)
		return NEXT;
	struct mac from = mac_of(eth.from);
	learn(p, &from);
	struct ethernet back = { .type = eth.type };
	__builtin_memcpy(back.to, eth.from, 6);
	__builtin_memcpy(back.from, eth.to, 6);
	struct ports ports = { .sport = in.udp.dport, .dport = in.udp.sport };
	__be32 magic = htonl(ANSWER_MAGIC);
	// The sum stays the same when addresses and ports change places.
	l4_csum(skb, at + 6, in.probe.magic, magic, BPF_F_MARK_MANGLED_0 | sizeof(magic));
	if (skb_store(skb, 0, &back, sizeof(back), 0) || skb_store(skb, at, &ports, sizeof(ports), 0) ||
	    skb_store(skb, at + sizeof(in.udp), &magic, sizeof(magic), 0))
		return SHOT;
	return redirect(skb->ifindex, 0);
}

GLOBAL int probe4(struct __sk_buff *skb)
{
	struct ipv4 ip;
	if (skb_load(skb, ETH_HLEN_, &ip, sizeof(ip)) || ip.ver_ihl != 0x45 || ip.proto != PROTO_UDP || ip.ttl != PROBE_HOPS ||
	    (ntohs(ip.frag) & (IP_MORE | IP_OFFSET)))
		return NEXT;
	union addr source;
	set_addr4(&source, ip.saddr);
	int sent = return_probe(skb, &source, ETH_HLEN_ + sizeof(ip));
	__be32 turned[2] = { ip.daddr, ip.saddr };
	if (sent != NEXT && skb_store(skb, ETH_HLEN_ + 12, turned, sizeof(turned), 0))
		return SHOT;
	return sent;
}

GLOBAL int probe6(struct __sk_buff *skb)
{
	struct ipv6 ip;
	if (skb_load(skb, ETH_HLEN_, &ip, sizeof(ip)) || ip.next != PROTO_UDP || ip.hops != PROBE_HOPS)
		return NEXT;
	int sent = return_probe(skb, &ip.saddr, ETH_HLEN_ + sizeof(ip));
	struct addrs turned = { .saddr = ip.daddr, .daddr = ip.saddr };
	if (sent != NEXT && skb_store(skb, ETH_HLEN_ + 8, &turned, sizeof(turned), 0))
		return SHOT;
	return sent;
}

#endif
