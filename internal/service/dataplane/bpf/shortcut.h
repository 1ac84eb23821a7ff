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

// look_up finds the route of a flow. It is an EXIT, and to->hop is complete, if the shortcut may take it: by an interface
// that is known, to a neighbour who is.
INLINE enum found look_up(struct __sk_buff *skb, struct flow *to, __u8 proto, __u64 flags, struct bpf_fib_lookup *fib)
{
	struct config *cfg = settings();
	__builtin_memset(&to->hop, 0, sizeof(to->hop));
	__builtin_memset(fib, 0, sizeof(*fib));
	if (!cfg)
		return NO_ROUTE;
	fib->ifindex = cfg->inject;
	fib->l4_protocol = proto;
	fib->tot_len = 1; // to be told what the path takes
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

// take_source has a masqueraded flow take an address of the node: the one given, or that of the interface through which
// it reaches the backend. Where Pods are behind tunnels, answers to any other would come back outside of the tunnel, or
// not at all. The look-up tells the way at once.
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
// if there is more for the kernel to do: because the packet does not fit or has no hops left, the neighbour is not known,
// or the packet is for the node itself.
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

// send_on rewrites a packet and sends it on its way.
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
