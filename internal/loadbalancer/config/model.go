package config

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// Namespace is where MetalLB's objects are looked for; those of other namespaces are not used.
const Namespace = "metallb-system"

// Object names an object of the configuration.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Problem is something in the configuration that can't be honoured.
type Problem struct {
	Object Object `json:"object"`
	// Field is the path of the field, as in spec.addresses[1].
	Field string `json:"field,omitempty"`
	// Message says what is wrong and what would help, in one sentence.
	Message string `json:"message"`
	// Unused says that the whole object is left out of the model; otherwise only the field is.
	Unused bool `json:"unused"`
}

// Config is a checked configuration. Every list is sorted by name, so that equal objects make equal models.
type Config struct {
	Pools       []Pool
	L2          []L2Advertisement
	BGP         []BGPAdvertisement
	Peers       []Peer
	BFDProfiles []BFDProfile
	Problems    []Problem
}

// Range is a range of addresses of one IP family, both ends included. IPv4 addresses are never IPv4-mapped IPv6 ones.
type Range struct{ First, Last netip.Addr }

// Contains tells whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Overlaps tells whether two ranges have an address in common.
func (r Range) Overlaps(o Range) bool {
	return r.First.BitLen() == o.First.BitLen() && r.First.Compare(o.Last) <= 0 && o.First.Compare(r.Last) <= 0
}

// Pool is a set of addresses for Services.
type Pool struct {
	Name string
	// Alias is the name that the ConfigMap has for the pool, if that is one that an object can't have; it is empty
	// otherwise. Services may use either. Where one pool's Name is another's Alias, the Name counts.
	Alias  string
	Labels labels.Set
	// Object is what the pool was read from; the zero Object for the cluster's own default pool.
	Object Object
	// Ranges are in the order in which they were written, which is the order in which addresses are given.
	Ranges     []Range
	AutoAssign bool
	// AvoidBuggyIPs skips IPv4 addresses that end in .0 or .255.
	AvoidBuggyIPs bool
	// Allocation restricts the pool to some Services and gives it precedence for them; nil is a pool for all.
	Allocation *Allocation
	// Default marks the cluster's own pool. Its addresses are for Services that ask for them, and are given
	// automatically only while there is no other pool; an address that another pool has too belongs to the other pool.
	Default bool
}

// Allocation is the serviceAllocation of an IPAddressPool. A Service matches if both its namespace and its labels do.
type Allocation struct {
	// Priority orders the pools that match, low numbers first; 0 comes last.
	Priority int
	// Namespaces and NamespaceSelectors match if either does; if both are empty, every namespace matches.
	Namespaces         []string
	NamespaceSelectors []labels.Selector
	// ServiceSelectors match if any does; if it is empty, every Service matches.
	ServiceSelectors []labels.Selector
}

// L2Advertisement says which nodes may announce addresses of which pools by ARP and NDP.
type L2Advertisement struct {
	Name   string
	Object Object
	// Pools are names of pools, selectors resolved. It may be empty: then nothing is announced by it.
	Pools []string
	// NodeSelectors are the nodes that may announce, those that any of them matches; empty for every node.
	NodeSelectors []labels.Selector
	// Interfaces are where addresses are announced; empty for every uplink.
	Interfaces []string
	// ServiceSelectors are the Services whose addresses are announced; empty for all.
	ServiceSelectors []labels.Selector
	// Preferred add to the score of nodes.
	Preferred []Preference
}

// Preference prefers nodes with some labels.
type Preference struct {
	Weight   int // 1 to 100
	Selector labels.Selector
}

// BGPAdvertisement says how addresses of pools are announced to BGP peers.
type BGPAdvertisement struct {
	Name                string
	Object              Object
	Pools               []string
	AggregationLength   int // of IPv4, 0 to 32
	AggregationLengthV6 int // 0 to 128
	LocalPref           uint32
	// Communities are numbers: a standard one as {high, low}, a large one as {global, local 1, local 2}.
	Communities      []Community
	NodeSelectors    []labels.Selector
	Peers            []string // names; empty for all
	ServiceSelectors []labels.Selector
}

// Community is a BGP community: two numbers of 16 bits, or three of 32 bits if Large.
type Community struct {
	Large bool
	Parts [3]uint32
}

// Peer is a BGP router to which routes are announced.
type Peer struct {
	Name   string
	Object Object

	MyASN   uint32
	PeerASN uint32 // 0 with DynamicASN
	// DynamicASN is "internal" or "external" in place of a number.
	DynamicASN string
	LocalASN   uint32 // 0 for none
	// Address is the peer's; invalid if Interface is used, which finds the peer by its link-local address.
	Address       netip.Addr
	Interface     string
	SourceAddress netip.Addr
	Port          uint16
	HoldTime      time.Duration
	KeepaliveTime time.Duration // 0 for a third of the hold time
	ConnectTime   time.Duration // 0 for the implementation's
	RouterID      netip.Addr
	NodeSelectors []labels.Selector
	Password      string
	// PasswordSecret names a Secret of type kubernetes.io/basic-auth in Namespace, whose password is used.
	PasswordSecret  string
	BFDProfile      string
	GracefulRestart bool
	MultiHop        bool
	VRF             string
	// DualStack announces addresses of both IP families over the one session.
	DualStack bool
}

// BFDProfile is how the path to a peer is probed.
type BFDProfile struct {
	Name             string
	Object           Object
	ReceiveInterval  time.Duration
	TransmitInterval time.Duration
	DetectMultiplier uint8
	// Passive waits for the peer's first packet.
	Passive bool
	// MinimumTTL is the least that packets of a peer behind other routers may have; 0 is 254.
	MinimumTTL uint8
}
