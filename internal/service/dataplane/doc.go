// Package dataplane brings the frontends that package route computed into the kernel of one node: eBPF programs at
// sockets and packets, the tables they read, and the links that carry rewritten packets.
//
// It decides nothing. It may import package route, package host, the eBPF and netlink libraries and
// golang.org/x/sys/unix; never client-go.
//
// What a packet meets:
//
//	process in the node's cgroup ── connect, sendmsg ──▶ talks straight to the backend
//	pod ──▶ its interface ──┐
//	wire ──▶ uplink ────────┼─ ingress program ─ rewritten ─▶ svc1 ─▶ the kernel routes it on
//	node ──▶ svc0, lo ──────┘                  └ not ours ──▶ untouched
//
// A rewritten packet may carry an address of the node as its source, which the kernel refuses on ordinary interfaces.
// So all of them enter again at svc1, the only interface on which such sources are accepted, and whose other end svc0
// carries the route to the Service range for the node itself.
package dataplane
