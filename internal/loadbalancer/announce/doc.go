// Package announce makes the addresses of load balancers work on the network of one node, by eBPF programs at its uplinks
// and the tables that they read. The programs
//
//   - answer ARP requests and neighbour solicitations for addresses that this node announces,
//   - tell of others that claim such an address,
//   - send back the liveness probes of other nodes,
//   - hand packets on to the node that serves their flow.
//
// The Go side writes the tables, sends gratuitous ARP packets and unsolicited advertisements, and probes the other nodes.
// Programs and tables are pinned: they go on while no process runs, and the next process takes them over.
//
// The package decides neither who announces an address nor which node serves a flow: it is told. What it does itself is to
// fall silent while the node hears nobody. It may import package host, the eBPF and netlink libraries and
// golang.org/x/sys/unix; never client-go.
//
// What a packet meets at an uplink:
//
//	wire ──▶ VLAN tag, or no address of ours ──────────▶ the next classifier, unchanged
//	     ──▶ ARP, neighbour solicitation ──────────────▶ answered from here
//	     ──▶ liveness probe ───────────────────────────▶ sent back from here
//	     ──▶ to a Service ─┬─ bucket of this node ─────▶ the Service data plane
//	                       ├─ sent by another node ────▶ the Service data plane
//	                       └─ bucket of another node ──▶ handed on by the same interface, one hop more
//
// A TCP packet of a flow that its owner does not know, as after a change of owner, goes to the bucket's second node.
package announce
