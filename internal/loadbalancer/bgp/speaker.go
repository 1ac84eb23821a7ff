package bgp

import (
	"context"
	"net/netip"
	"time"
)

// Speaker has sessions with peers.
type Speaker interface {
	// Run blocks until ctx ends or the speaker can't go on, and owns all that it starts. It runs once.
	Run(ctx context.Context) error
	// Apply makes the State the desired one, whether or not Run is there to act on it, and returns when the speaker has
	// begun to act on it, or ctx has ended: then that comes later. It does not wait for sessions, whose troubles are
	// told by Sessions. An invalid State is refused and changes nothing. A State without peers is the farewell: all peers
	// are told that the routes are gone, and the sessions end.
	//
	// With graceful restart a peer forgets, after a restart, each route that it isn't told again, so the first State has
	// to be complete.
	Apply(ctx context.Context, s State) error
	// Sessions tells how the sessions stand, in the order of their names.
	Sessions() []Session
	// Changed receives a value after sessions have come up or gone down. One value may stand for several changes.
	Changed() <-chan struct{}
}

// Established is the State of a Session in which routes are exchanged.
const Established = "Established"

// Session is a session with a peer as it stands.
type Session struct {
	// Peer is the peer's name, and Address its address and port; for an interface without a router yet its name.
	Peer    string `json:"peer"`
	Address string `json:"address"`
	// State is BGP's word: Idle, Active, OpenSent, OpenConfirm or Established.
	State string `json:"state"`
	// Since is when the State began.
	Since time.Time `json:"since,omitzero"`
	// Error is why there is no session, or what ended the last one. It is empty while the session is established.
	Error string `json:"error,omitempty"`
	// PeerASN is the AS number that the router has told, 0 without a session.
	PeerASN uint32 `json:"peerASN,omitempty"`
	// Advertised is what the peer has been told, in order.
	Advertised []netip.Prefix `json:"advertised,omitempty"`
	// Updates counts the messages with routes that were sent.
	Updates uint64 `json:"updates,omitempty"`
	// BFD is nil where the path is not probed.
	BFD *BFDSession `json:"bfd,omitempty"`
}

// BFDSession tells whether the path to a peer works.
type BFDSession struct {
	// Up says that each end hears the other.
	Up bool `json:"up"`
	// Error is why the path is not probed.
	Error string `json:"error,omitempty"`
	// Sent and Received count the packets.
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
}
