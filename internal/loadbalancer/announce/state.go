package announce

import (
	"fmt"
	"net"
	"net/netip"
)

// Protocol is an IP protocol number.
type Protocol uint8

// The protocols whose flows can be handed on.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// String is the protocol's name as Services have it.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// MaxBuckets is the largest number of buckets of a Table.
const MaxBuckets = 1021

// None is the index of no node in a Bucket.
const None = 0xffff

// Service is what a Service, or anything else that has addresses, needs at this node.
type Service struct {
	Addresses []Address
	Spread    []Spread
}

// Address is an address of a Service. Each one is watched for claims of strangers.
type Address struct {
	Addr netip.Addr
	// Answer has this node announce the address.
	Answer bool
	// Links are the uplinks where it is answered; empty for all.
	Links []string
	// Probe has the network asked first whether somebody else has the address. It is for one that no node has announced
	// yet. While a stranger answers, the address is not announced, and is asked for again every half minute.
	Probe bool
}

// Spread says which nodes serve the flows to a port.
type Spread struct {
	Addr     netip.Addr
	Port     uint16
	Protocol Protocol
	// ByClient has all flows of a client to the address go to one node.
	ByClient bool
	// Table is shared by ports that have the same pointer. It must not change any more.
	Table *Table
}

// Table divides flows among nodes. It must be the same on all nodes.
type Table struct {
	// Nodes are names of peers or of this node.
	Nodes []string
	// Buckets are 1 to MaxBuckets.
	Buckets []Bucket
}

// Bucket is where the flows of a bucket go: indexes into the Nodes of the Table, or None.
type Bucket struct {
	// Owner serves them. With None this node does.
	Owner uint16
	// Second gets packets of TCP connections that the owner does not know.
	Second uint16
}

// Peer is another node.
type Peer struct {
	Name string
	// Addresses are its own, on the network of the uplinks. The first one of each family is where packets are handed on to.
	Addresses []netip.Addr
}

// View is who is alive, as this node sees it.
type View struct {
	// Active says that there is an address of a Service. Otherwise nobody is probed and nothing else is known.
	Active bool
	// Self is false while the node hears neither another node nor a gateway; then it answers nothing.
	Self bool
	// Peers tells which peers are alive. One of which that is not known yet is missing.
	Peers map[string]bool
}

// Conflict says that somebody else claims an address of a Service.
type Conflict struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
	Link string
	// Peer is the node that it is; empty for a stranger.
	Peer string
	// Held says that this node does not announce the address because of that.
	Held bool
}
