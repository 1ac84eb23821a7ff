// The socket programs: a socket that connects or sends to a frontend gets a backend as its peer, so that none of its packets
// has to be rewritten. The frontend is kept, and shown to the process when it asks for the peer's address.
#ifndef MINATO_SOCKET_H
#define MINATO_SOCKET_H

#include "stream.h"

enum { UNTOUCHED = 0, TRANSLATED = 1, REFUSED = 2 };

// forget drops what is kept of a socket about an address that it now uses directly, not through a Service. For a datagram
// that leaves what the socket is connected to: connect() alone changes that.
INLINE void forget(struct bpf_sock_addr *ctx, const union addr *dst, __be16 port, int connected)
{
	if (!ctx->sk)
		return;
	if (ctx->protocol == PROTO_TCP) {
		struct peer *p = find_stream(socket_cookie(ctx));
		if (p)
			p->backend_port = 0;
		return;
	}
	struct peers *ps = storage_get(&sockets, ctx->sk, 0, 0);
	if (!ps)
		return;
	if (connected)
		ps->peer[0].backend_port = 0;
#pragma unroll
	for (int i = 1; i < PEERS; i++) {
		struct peer *p = &ps->peer[i];
		if (p->backend_port == port && same_addr(&p->backend, dst))
			p->backend_port = 0;
	}
}

// known_backend returns the backend that this socket used last for the frontend, if that backend still exists.
INLINE int known_backend(struct peers *ps, const union addr *dst, __be16 port, __u32 service, struct backend *out)
{
#pragma unroll
	for (int i = 1; i < PEERS; i++) {
		struct peer *p = &ps->peer[i];
		if (p->frontend_port == port && p->backend_port && p->service == service && same_addr(&p->frontend, dst))
			return get_backend(p->backend_id, out);
	}
	return 0;
}

INLINE void remember(struct peers *ps, const union addr *dst, __be16 port, __u32 service, const struct backend *b, int connected)
{
	__u32 at = 0;
	if (!connected) {
#pragma unroll
		for (int i = 1; i < PEERS; i++) {
			struct peer *p = &ps->peer[i];
			if (!at && p->frontend_port == port && same_addr(&p->frontend, dst))
				at = i;
		}
		if (!at) {
			at = ps->next % (PEERS - 1) + 1;
			ps->next = at;
		}
	}
	if (at >= PEERS)
		return;
	ps->last = at;
	note(&ps->peer[at], dst, port, service, b);
}

// is_connected_to tells whether a socket that sends is connected to this very destination. For an IPv6 socket that is
// connected to an IPv4 address, the kernel runs sendmsg4 at each write with the peer's address. The socket accepts replies
// from its peer alone, so that address must not be replaced.
INLINE int is_connected_to(struct bpf_sock_addr *ctx, const union addr *dst, __be16 port)
{
	struct bpf_sock *sk = ctx->sk;
	if (!sk || sk->dst_port != port)
		return 0;
	if (is_addr4(dst))
		return sk->dst_ip4 == dst->w[3];
	// Volatile, because the verifier allows no arithmetic with this pointer, and the compiler would do some.
	const volatile struct bpf_sock *v = sk;
	__u32 a = v->dst_ip6[0], b = v->dst_ip6[1], c = v->dst_ip6[2], d = v->dst_ip6[3];
	return a == dst->w[0] && b == dst->w[1] && c == dst->w[2] && d == dst->w[3];
}

// translate replaces *dst and *port, the destination that the process gave, by a backend. What a socket program can't do,
// the packet programs do: dropping silently, and serving Services that are newer than the connection.
INLINE int translate(struct bpf_sock_addr *ctx, union addr *dst, __be16 *port, int connected)
{
	struct config *cfg = settings();
	__u8 proto = ctx->protocol;
	if (!cfg || (proto != PROTO_TCP && proto != PROTO_UDP))
		return UNTOUCHED;
	if (!connected && is_connected_to(ctx, dst, *port))
		return UNTOUCHED;
	// A hostPort is served at the loopback addresses of the node. In a Pod they are the Pod's own.
	if (is_loopback(dst) && netns_cookie(ctx) != cfg->netns)
		return UNTOUCHED;
	// connect() of a UDP socket sends nothing, so it succeeds, as it does for any other address: programs use it to learn
	// their own. What such a socket sends goes to the frontend's address, where the packet programs refuse it, or steer it
	// once the frontend has a backend.
	int refusal = connected && proto == PROTO_UDP ? UNTOUCHED : REFUSED;
	struct frontend_key key = { .addr = *dst, .port = *port, .proto = proto, .scope = INSIDE };
	struct frontend f = {};
	if (!find_frontend(&key, &f)) {
		if (in_service_range(cfg, dst) && is_service_addr(dst)) {
			if (refusal == REFUSED)
				count(COUNT_REJECT);
			return refusal;
		}
		forget(ctx, dst, *port, connected);
		return UNTOUCHED;
	}
	// loadBalancerSourceRanges are about the client's address, which is not known before a packet is sent.
	if (f.verdict == DROP || (f.flags & FRONTEND_RESTRICTED))
		return UNTOUCHED;
	if (f.verdict != FORWARD) {
		if (refusal == REFUSED) {
			count(COUNT_REJECT);
			visit(&key, VISIT_REFUSED);
		}
		return refusal;
	}
	// Each TCP connection gets a backend at random. A UDP socket gets the same one each time, by its cookie.
	__u32 hash = proto == PROTO_TCP ? random32() : (__u32)socket_cookie(ctx) * 2654435761u >> 8;
	struct peers *ps = 0;
	if (ctx->sk && proto == PROTO_UDP)
		ps = storage_get(&sockets, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct backend b = {};
	int have = 0;
	if (ps && !connected)
		have = known_backend(ps, dst, *port, f.service, &b);
	union addr client = { .d = { netns_cookie(ctx), 0 } };
	if (!have && !pick(&f, &client, hash, &b)) {
		if (!find_frontend(&key, &f))
			return refusal;
		if (f.verdict != FORWARD || !pick(&f, &client, hash, &b)) {
			if (refusal == REFUSED) {
				count(COUNT_DROP_RACE);
				visit(&key, VISIT_REFUSED);
			}
			return refusal;
		}
	}
	if (proto == PROTO_TCP)
		remember_stream(socket_cookie(ctx), dst, *port, f.service, &b);
	if (ps)
		remember(ps, dst, *port, f.service, &b, connected);
	if (connected && proto == PROTO_UDP) {
		__u64 cookie = socket_cookie(ctx);
		struct connection c = { .backend = b.addr, .port = b.port };
		map_update(&connections, &cookie, &c, 0);
	}
	if (!have) {
		tally(f.service, b.id, 1, 0, 0);
		visit(&key, VISIT_CONNECTION);
	}
	*dst = b.addr;
	*port = b.port;
	return TRANSLATED;
}

INLINE int is_backend(const struct peer *p, const union addr *addr, __be16 port)
{
	return p->backend_port && p->backend_port == port && same_addr(&p->backend, addr);
}

// restore replaces a backend's address by that of the frontend that the process asked for. If two Services share the
// backend, it takes the one that the socket used last.
INLINE int restore(struct bpf_sock_addr *ctx, union addr *addr, __be16 *port)
{
	if (!ctx->sk)
		return 0;
	if (ctx->protocol == PROTO_TCP) {
		struct peer *p = find_stream(socket_cookie(ctx));
		if (!p || !is_backend(p, addr, *port))
			return 0;
		*addr = p->frontend;
		*port = p->frontend_port;
		return 1;
	}
	struct peers *ps = storage_get(&sockets, ctx->sk, 0, 0);
	if (!ps)
		return 0;
	__u32 at = ps->last;
	if (at >= PEERS)
		return 0;
	if (!is_backend(&ps->peer[at], addr, *port)) {
		at = PEERS;
#pragma unroll
		for (int i = 0; i < PEERS; i++)
			if (at == PEERS && is_backend(&ps->peer[i], addr, *port))
				at = i;
	}
	if (at >= PEERS)
		return 0;
	*addr = ps->peer[at].frontend;
	*port = ps->peer[at].frontend_port;
	return 1;
}

INLINE int refuse(void)
{
	set_retval(-ECONNREFUSED_);
	return 0;
}

INLINE void get4(struct bpf_sock_addr *ctx, union addr *a)
{
	set_addr4(a, ctx->user_ip4);
}

INLINE void get6(struct bpf_sock_addr *ctx, union addr *a)
{
	a->w[0] = ctx->user_ip6[0];
	a->w[1] = ctx->user_ip6[1];
	a->w[2] = ctx->user_ip6[2];
	a->w[3] = ctx->user_ip6[3];
}

INLINE void put6(struct bpf_sock_addr *ctx, const union addr *a)
{
	ctx->user_ip6[0] = a->w[0];
	ctx->user_ip6[1] = a->w[1];
	ctx->user_ip6[2] = a->w[2];
	ctx->user_ip6[3] = a->w[3];
}

INLINE int out4(struct bpf_sock_addr *ctx, int connected)
{
	union addr dst;
	__be16 port = (__be16)ctx->user_port;
	get4(ctx, &dst);
	int r = translate(ctx, &dst, &port, connected);
	if (r == REFUSED)
		return refuse();
	if (r == TRANSLATED) {
		ctx->user_ip4 = dst.w[3];
		ctx->user_port = port;
	}
	return 1;
}

INLINE int out6(struct bpf_sock_addr *ctx, int connected)
{
	union addr dst;
	__be16 port = (__be16)ctx->user_port;
	get6(ctx, &dst);
	int r = translate(ctx, &dst, &port, connected);
	if (r == REFUSED)
		return refuse();
	if (r == TRANSLATED) {
		put6(ctx, &dst);
		ctx->user_port = port;
	}
	return 1;
}

INLINE int in4(struct bpf_sock_addr *ctx)
{
	union addr src;
	__be16 port = (__be16)ctx->user_port;
	get4(ctx, &src);
	if (restore(ctx, &src, &port)) {
		ctx->user_ip4 = src.w[3];
		ctx->user_port = port;
	}
	return 1;
}

INLINE int in6(struct bpf_sock_addr *ctx)
{
	union addr src;
	__be16 port = (__be16)ctx->user_port;
	get6(ctx, &src);
	if (restore(ctx, &src, &port)) {
		put6(ctx, &src);
		ctx->user_port = port;
	}
	return 1;
}

// is_node_port tells whether a port is the NodePort of a Service.
INLINE int is_node_port(int ipv6, __u16 port, __u8 proto)
{
	struct frontend_key key = { .port = htons(port), .proto = proto, .scope = INSIDE };
	if (!ipv6)
		key.addr.w[2] = htonl(0xffff);
	return map_lookup(&frontends, &key) != 0;
}

// may_bind refuses processes in the node's network to bind a NodePort: its packets go to the Service, and the process would
// receive none. At loopback addresses it is allowed, because NodePorts are not served there.
INLINE int may_bind(struct bpf_sock *ctx, int any4, int any6)
{
	struct config *cfg = settings();
	__u16 port = (__u16)ctx->src_port;
	__u8 proto = (__u8)ctx->protocol;
	if (!cfg || port < cfg->nodeport_min || port > cfg->nodeport_max || netns_cookie(ctx) != cfg->netns)
		return 1;
	if (!(any4 && is_node_port(0, port, proto)) && !(any6 && is_node_port(1, port, proto)))
		return 1;
	set_retval(-EADDRINUSE_);
	return 0;
}

SEC("cgroup/post_bind4") int post_bind4(struct bpf_sock *ctx)
{
	return may_bind(ctx, (ntohl(ctx->src_ip4) >> 24) != 127, 0);
}

SEC("cgroup/post_bind6") int post_bind6(struct bpf_sock *ctx)
{
	__u32 a = ctx->src_ip6[0], b = ctx->src_ip6[1], c = ctx->src_ip6[2], d = ctx->src_ip6[3];
	if (!a && !b && c == htonl(0xffff))
		return may_bind(ctx, (ntohl(d) >> 24) != 127, 0);
	// A socket that is bound to no address may receive both families.
	int any = !a && !b && !c && !d, loopback = !a && !b && !c && d == htonl(1);
	return may_bind(ctx, any, !loopback);
}

// sock_release runs when a socket is closed, and drops what is kept of it.
SEC("cgroup/sock_release") int sock_release(struct bpf_sock *ctx)
{
	__u64 cookie = socket_cookie(ctx);
	if (ctx->protocol == PROTO_TCP) {
		forget_stream(cookie);
	} else if (ctx->protocol == PROTO_UDP && map_lookup(&connections, &cookie)) {
		map_delete(&connections, &cookie);
	}
	return 1;
}

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx) { return out4(ctx, 1); }
SEC("cgroup/connect6") int connect6(struct bpf_sock_addr *ctx) { return out6(ctx, 1); }
SEC("cgroup/sendmsg4") int sendmsg4(struct bpf_sock_addr *ctx) { return out4(ctx, 0); }
SEC("cgroup/sendmsg6") int sendmsg6(struct bpf_sock_addr *ctx) { return out6(ctx, 0); }
SEC("cgroup/recvmsg4") int recvmsg4(struct bpf_sock_addr *ctx) { return in4(ctx); }
SEC("cgroup/recvmsg6") int recvmsg6(struct bpf_sock_addr *ctx) { return in6(ctx); }
SEC("cgroup/getpeername4") int getpeername4(struct bpf_sock_addr *ctx) { return in4(ctx); }
SEC("cgroup/getpeername6") int getpeername6(struct bpf_sock_addr *ctx) { return in6(ctx); }

#endif
