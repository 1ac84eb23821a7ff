// The fast path of translated packets: straight to the interface of their route, past the kernel's forwarding. It is open
// while the kernel would do nothing else with them: there is no rule of a packet filter and no IPsec policy. The agent opens
// it for a few seconds at a time, so that it closes by itself when the agent is gone.
#ifndef MINATO_SHORTCUT_H
#define MINATO_SHORTCUT_H

#include "rewrite.h"

INLINE int may_shortcut(int ipv6)
{
	__u32 zero = 0;
	struct shortcut *s = map_lookup(&shortcut, &zero);
	return s && now() < (ipv6 ? s->until6 : s->until4);
}

// packet_size is the size that must not exceed the path's MTU: for a packet that will be segmented, that of one segment.
INLINE __u32 packet_size(const struct __sk_buff *skb, const struct packet *p)
{
	if (skb->gso_size)
		return p->l4 - ETH_HLEN_ + p->l4_len + skb->gso_size;
	return skb->len - ETH_HLEN_;
}

INLINE void fill_fib(struct bpf_fib_lookup *fib, const struct flow *to, int ipv4)
{
	if (ipv4) {
		fib->family = FAMILY_IPV4;
		fib->ipv4_src = to->saddr.w[3];
		fib->ipv4_dst = to->daddr.w[3];
	} else {
		fib->family = FAMILY_IPV6;
		__builtin_memcpy(fib->ipv6_src, to->saddr.w, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, to->daddr.w, sizeof(fib->ipv6_dst));
	}
	fib->sport = to->sport;
	fib->dport = to->dport;
}

INLINE __u32 check_of(const struct flow *to)
{
	return to->daddr.w[0] ^ to->daddr.w[1] ^ to->daddr.w[2] ^ to->daddr.w[3];
}

enum found { NO_ROUTE, ROUTE, EXIT };

// look_up finds the route of a flow. It returns EXIT, with to->hop filled, if the fast path may take it: the interface is in
// exits, and the neighbour's MAC address is known.
INLINE enum found look_up(struct __sk_buff *skb, struct flow *to, __u8 proto, __u64 flags, struct bpf_fib_lookup *fib)
{
	struct config *cfg = settings();
	__builtin_memset(&to->hop, 0, sizeof(to->hop));
	__builtin_memset(fib, 0, sizeof(*fib));
	if (!cfg)
		return NO_ROUTE;
	fib->ifindex = cfg->inject;
	fib->l4_protocol = proto;
	fib->tot_len = 1; // has the kernel return the path's MTU
	fill_fib(fib, to, is_addr4(&to->daddr));
	long found = fib_lookup(skb, fib, sizeof(*fib), flags);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return NO_ROUTE;
	__u32 out = fib->ifindex;
	if (found == BPF_FIB_LKUP_RET_NO_NEIGH || !map_lookup(&exits, &out))
		return ROUTE;
	to->hop.check = check_of(to);
	to->hop.mtu = fib->mtu_result;
	__builtin_memcpy(to->hop.macs, fib->dmac, 6);
	__builtin_memcpy(to->hop.macs + 6, fib->smac, 6);
	to->hop.ifindex = out;
	return EXIT;
}

// take_source sets the source address of a masqueraded flow: the node's configured address, or with CONFIG_ROUTED_SOURCE the
// one of the route to the backend. Where Pods are behind tunnels, replies to any other address would not come back through
// the tunnel.
GLOBAL int take_source(struct __sk_buff *skb, struct flow *to, __u8 proto)
{
	struct config *cfg = settings();
	struct scratch *work = workplace();
	if (!cfg || !work || !to)
		return 0;
	int ipv4 = is_addr4(&to->daddr);
	to->saddr = ipv4 ? cfg->self : cfg->self6;
	if (!(cfg->flags & CONFIG_ROUTED_SOURCE))
		return 0;
	if (look_up(skb, to, proto, FIB_SOURCE, &work->fib) == NO_ROUTE)
		return 0;
	if (!ipv4)
		__builtin_memcpy(to->saddr.w, work->fib.ipv6_src, sizeof(work->fib.ipv6_src));
	else if (work->fib.ipv4_src)
		to->saddr.w[3] = work->fib.ipv4_src;
	return 0;
}

enum way {
	STRAIGHT = 1,
	ASK_NEIGHBOUR = 2, // through the kernel's neighbour table, so that the entry is checked
};

// to_neighbour sends a packet to the next hop of a route, whose MAC address the kernel looks up.
INLINE int to_neighbour(const struct bpf_fib_lookup *fib)
{
	struct bpf_redir_neigh hop = { .nh_family = fib->family }; // an IPv4 route may have an IPv6 next hop
	if (fib->family == FAMILY_IPV6)
		__builtin_memcpy(hop.ipv6_nh, fib->ipv6_dst, sizeof(hop.ipv6_nh));
	else
		hop.ipv4_nh = fib->ipv4_dst;
	return redirect_neigh(fib->ifindex, &hop, sizeof(hop), 0);
}

// go_straight rewrites a packet and sends it to the interface of its route. It returns NEXT, with the packet unchanged, if the
// kernel must handle it: the packet is a fragment, larger than the MTU or at the end of its TTL, the neighbour is not
// known, or the node itself is the destination.
INLINE int go_straight(struct __sk_buff *skb, const struct packet *p, struct flow *to, int way, int ipv6)
{
	struct scratch *work = workplace();
	if (!work || !p || !to || p->fragment || p->hops <= 1)
		return NEXT;
	int known = way != ASK_NEIGHBOUR && to->hop.ifindex && to->hop.check == check_of(to);
	if (!known && look_up(skb, to, p->t.proto, 0, &work->fib) != EXIT)
		return NEXT;
	if (packet_size(skb, p) > to->hop.mtu)
		return NEXT;
	rewrite(skb, p, to, 1, ipv6);
	if (way == ASK_NEIGHBOUR)
		return to_neighbour(&work->fib);
	skb_store(skb, 0, to->hop.macs, sizeof(to->hop.macs), 0);
	return redirect(to->hop.ifindex, 0);
}

GLOBAL int go_straight4(struct __sk_buff *skb, const struct packet *p, struct flow *to, int way)
{
	return go_straight(skb, p, to, way, 0);
}

GLOBAL int go_straight6(struct __sk_buff *skb, const struct packet *p, struct flow *to, int way)
{
	return go_straight(skb, p, to, way, 1);
}

// send_on rewrites a packet and sends it by the fast path, if that is open, or through the kernel.
INLINE int send_on(struct __sk_buff *skb, const struct config *cfg, const struct packet *p, struct flow *to, int way, int ipv6)
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
