package elect

import (
	"net/netip"

	"minato/internal/loadbalancer/config"
)

// Route is what a node tells a BGP peer.
type Route struct {
	// Peer is the peer's name.
	Peer string
	// Prefix holds the address; it is shorter than the address if the advertisement aggregates.
	Prefix netip.Prefix
	// LocalPref is 0 for none, as it is to every peer of another autonomous system.
	LocalPref uint32
	// Communities are those of all advertisements that make this route, sorted.
	Communities []config.Community
	// Advertisements are the names of those that make it.
	Advertisements []string
	// Reason is Announced.
	Reason Reason
	// Message says why in a sentence.
	Message string
}

// Withheld is why a peer isn't told of an address.
type Withheld struct {
	Peer    string
	Reason  Reason
	Message string
}
