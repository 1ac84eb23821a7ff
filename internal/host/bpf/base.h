// The types, helpers and constants of the kernel that the programs need. They are declared by hand, so that the object
// builds from the kernel's public headers alone.
#ifndef MINATO_BASE_H
#define MINATO_BASE_H

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline)) inline
// The verifier checks a global function once, by itself, and not again for each path that calls it. In exchange it assumes
// that the function's pointers may be null.
#define GLOBAL __attribute__((noinline))

#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

#define htons(x) ((__be16)__builtin_bswap16(x))
#define htonl(x) ((__be32)__builtin_bswap32(x))
#define ntohs(x) ((__u16)__builtin_bswap16(x))
#define ntohl(x) ((__u32)__builtin_bswap32(x))

// Keeps the compiler from merging or reordering memory accesses.
#define barrier() asm volatile("" ::: "memory")

// To whom a frame is: skb->pkt_type.
enum { PACKET_HOST_ = 0, PACKET_BROADCAST_ = 1, PACKET_MULTICAST_ = 2, PACKET_OTHERHOST_ = 3 };

enum {
	ETH_HLEN_ = 14,
	ETH_IPV4 = 0x0800,
	ETH_ARP_ = 0x0806,
	ETH_IPV6 = 0x86dd,
	PROTO_HOP_BY_HOP = 0,
	PROTO_ICMP = 1,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_ICMPV6 = 58,
	PROTO_DESTINATION = 60,
	FAMILY_IPV4 = 2,
	FAMILY_IPV6 = 10,
	EADDRINUSE_ = 98,
	ECONNREFUSED_ = 111,
};

// Newer than the headers that this is built with. Kernels before 6.7 do not know this flag of bpf_fib_lookup and return an
// error.
enum { FIB_SOURCE = 1 << 4 };

enum action {
	NEXT = -1, // the packet belongs to no Service: the next classifier decides
	PASS = 0,
	SHOT = 2,
};

enum {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)BPF_FUNC_map_update_elem;
static long (*map_delete)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static long (*queue_push)(void *map, const void *value, __u64 flags) = (void *)BPF_FUNC_map_push_elem;
static long (*queue_pop)(void *map, void *value) = (void *)BPF_FUNC_map_pop_elem;
static long (*ring_output)(void *ring, const void *data, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_output;
static __u32 (*random32)(void) = (void *)BPF_FUNC_get_prandom_u32;
static __u64 (*clock_coarse)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;
static __u64 (*netns_cookie)(void *ctx) = (void *)BPF_FUNC_get_netns_cookie;
static __u64 (*socket_cookie)(void *ctx) = (void *)BPF_FUNC_get_socket_cookie;
static void *(*storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)BPF_FUNC_sk_storage_get;
static long (*set_retval)(int retval) = (void *)BPF_FUNC_set_retval;
static long (*skb_load)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)BPF_FUNC_skb_load_bytes;
static long (*skb_store)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len, __u64 flags) = (void *)BPF_FUNC_skb_store_bytes;
static long (*l3_csum)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size) = (void *)BPF_FUNC_l3_csum_replace;
static long (*l4_csum)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 flags) = (void *)BPF_FUNC_l4_csum_replace;
static __s64 (*csum_diff)(const void *from, __u32 from_size, const void *to, __u32 to_size, __wsum seed) = (void *)BPF_FUNC_csum_diff;
static long (*change_tail)(struct __sk_buff *skb, __u32 len, __u64 flags) = (void *)BPF_FUNC_skb_change_tail;
static long (*fib_lookup)(void *ctx, struct bpf_fib_lookup *params, int len, __u32 flags) = (void *)BPF_FUNC_fib_lookup;
static long (*redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;
static long (*redirect_neigh)(__u32 ifindex, struct bpf_redir_neigh *params, int len, __u64 flags) = (void *)BPF_FUNC_redirect_neigh;

INLINE __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

#endif
