// The short way of a translated packet: straight to the interface by which it leaves, past the kernel's forwarding. It is
// open while nothing in there would do more than forward: no rule of a packet filter, no policy for encryption. The agent
// says so for a few seconds at a time, so that it closes if nobody looks any more.
#ifndef MINATO_SHORTCUT_H
#define MINATO_SHORTCUT_H

#include "rewrite.h"

INLINE int may_shortcut(int ipv6)
{
	__u32 zero = 0;
	struct shortcut *s = map_lookup(&shortcut, &zero);
	return s && now() < (ipv6 ? s->until6 : s->until4);
}

// packet_size is what must fit the path's MTU: of what will be segmented later, the size of one segment.
INLINE __u32 packet_size(const struct __sk_buff *skb, const struct packet *p)
{
	if (skb->gso_size)
		return p->l4 - ETH_HLEN_ + p->l4_len + skb->gso_size;
	return skb->len - ETH_HLEN_;
}

INLINE void fill_fib(struct bpf_fib_lookup *fib, const struct flow *to, int ipv6)
{
	if (ipv6) {
		fib->family = FAMILY_IPV6;
		__builtin_memcpy(fib->ipv6_src, to->saddr.w, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, to->daddr.w, sizeof(fib->ipv6_dst));
	} else {
		fib->family = FAMILY_IPV4;
		fib->ipv4_src = to->saddr.w[3];
		fib->ipv4_dst = to->daddr.w[3];
	}
	fib->sport = to->sport;
	fib->dport = to->dport;
}

enum way {
	STRAIGHT = 1,
	ASK_NEIGHBOUR = 2, // that the route leads to, whether it is still there
};

// to_neighbour sends a packet to whom the route leads, found by the kernel as for any other packet.
INLINE int to_neighbour(const struct bpf_fib_lookup *fib)
{
	struct bpf_redir_neigh hop = { .nh_family = fib->family }; // an IPv4 route may lead by an IPv6 router
	if (fib->family == FAMILY_IPV6)
		__builtin_memcpy(hop.ipv6_nh, fib->ipv6_dst, sizeof(hop.ipv6_nh));
	else
		hop.ipv4_nh = fib->ipv4_dst;
	return redirect_neigh(fib->ifindex, &hop, sizeof(hop), 0);
}

// go_straight rewrites a packet and sends it out by the interface of its route. It returns NEXT, and has changed nothing,
// if there is more for the kernel to do: because the packet does not fit or has no hops left, or is for the node itself.
INLINE int go_straight(struct __sk_buff *skb, const struct packet *p, const struct flow *to, int way, int ipv6)
{
	struct config *cfg = settings();
	if (!cfg || !p || !to || p->fragment || p->hops <= 1)
		return NEXT;
	struct bpf_fib_lookup fib = { .ifindex = cfg->inject, .l4_protocol = p->t.proto, .tot_len = packet_size(skb, p) };
	fill_fib(&fib, to, ipv6);
	long found = fib_lookup(skb, &fib, sizeof(fib), 0);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return NEXT;
	__u32 out = fib.ifindex;
	if (!map_lookup(&exits, &out))
		return NEXT;
	rewrite(skb, p, to, 1, ipv6);
	if (found == BPF_FIB_LKUP_RET_NO_NEIGH || way == ASK_NEIGHBOUR)
		return to_neighbour(&fib);
	struct {
		__u8 to[6];
		__u8 from[6];
	} macs;
	__builtin_memcpy(macs.to, fib.dmac, 6);
	__builtin_memcpy(macs.from, fib.smac, 6);
	skb_store(skb, 0, &macs, sizeof(macs), 0);
	return redirect(out, 0);
}

GLOBAL int go_straight4(struct __sk_buff *skb, const struct packet *p, const struct flow *to, int way)
{
	return go_straight(skb, p, to, way, 0);
}

GLOBAL int go_straight6(struct __sk_buff *skb, const struct packet *p, const struct flow *to, int way)
{
	return go_straight(skb, p, to, way, 1);
}

// send_on rewrites a packet and sends it on its way.
INLINE int send_on(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, const struct flow *to, int way, int ipv6)
{
	if (way && may_shortcut(ipv6)) {
		int sent = ipv6 ? go_straight6(skb, p, to, way) : go_straight4(skb, p, to, way);
		if (sent != NEXT)
			return sent;
	}
	rewrite(skb, p, to, 0, ipv6);
	return inject(skb, cfg);
}

#endif
