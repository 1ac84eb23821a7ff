// Package dataplane brings the frontends that package route computed into the kernel of one node: eBPF programs at
// sockets and packets, the tables they read, and the links that carry rewritten packets.
//
// It decides nothing. It may import package route, package host, the eBPF and netlink libraries and
// golang.org/x/sys/unix; never client-go.
//
// What a packet meets:
//
//	process in the node's cgroup ── connect, sendmsg ──▶ sends to the backend directly
//	pod ──▶ its interface ──┐
//	wire ──▶ uplink ────────┼─ ingress program ─ rewritten ─▶ svc1 ─▶ the kernel routes it on
//	node ──▶ svc0, lo ──────┘                  └ no Service's ──▶ unchanged
//
// A rewritten packet may have an address of the node as its source, which the kernel drops at ordinary interfaces. So it enters
// the kernel again at svc1, the only interface where such a source is accepted. svc0 is the other end of the same veth pair,
// and the node's own route to the Service range leads there. While the fast path is open, packets of Pods and of uplinks go
// to the interface of their route instead.
package dataplane
