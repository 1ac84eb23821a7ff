// The address of the node that masqueraded traffic takes.
#ifndef MINATO_SOURCE_H
#define MINATO_SOURCE_H

#include "maps.h"

// own_address is the node's, or that of the interface through which it reaches the backend: where Pods are behind
// tunnels, answers to any other would come back outside of the tunnel, or not at all.
GLOBAL int own_address(struct __sk_buff *skb, const union addr *backend, union addr *out)
{
	struct config *cfg = settings();
	if (!cfg || !backend || !out)
		return 0;
	int ipv4 = is_addr4(backend);
	*out = ipv4 ? cfg->self : cfg->self6;
	if (!(cfg->flags & CONFIG_ROUTED_SOURCE))
		return 0;
	struct bpf_fib_lookup fib = { .family = ipv4 ? FAMILY_IPV4 : FAMILY_IPV6, .ifindex = cfg->inject };
	if (ipv4) {
		fib.ipv4_src = out->w[3];
		fib.ipv4_dst = backend->w[3];
	} else {
		__builtin_memcpy(fib.ipv6_src, out->w, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, backend->w, sizeof(fib.ipv6_dst));
	}
	if (fib_lookup(skb, &fib, sizeof(fib), FIB_SKIP_NEIGH | FIB_SOURCE) != BPF_FIB_LKUP_RET_SUCCESS)
		return 0;
	if (!ipv4)
		__builtin_memcpy(out->w, fib.ipv6_src, sizeof(fib.ipv6_src));
	else if (fib.ipv4_src)
		out->w[3] = fib.ipv4_src;
	return 0;
}

#endif
