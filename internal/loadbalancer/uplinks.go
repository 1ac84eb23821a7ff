package loadbalancer

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"minato/internal/loadbalancer/announce"
)

// announcer is what package announce does at the uplinks of a node.
type announcer interface {
	Open(ctx context.Context) error
	Close() error
	Run(ctx context.Context) error
	Answered() ([]netip.Addr, error)
	Apply(key string, s announce.Service) error
	SetPeers(peers []announce.Peer) error
	Sweep() error
	Reannounce(addrs ...netip.Addr)
	Counters() ([]announce.Counters, error)
}

// uplinks are the node's announcer, which is opened with the first Service that needs something, or if an earlier process
// has left something.
type uplinks struct {
	announcer announcer
	// pins is the directory of what outlives a process.
	pins string

	ctx    context.Context
	group  *errgroup.Group
	opened bool
	swept  bool
	// failed is why it could not be opened; it is not tried again before the next step.
	failed error
	peers  []announce.Peer
	// unsent says that the announcer does not have the peers yet.
	unsent bool
	// answered are the addresses that an earlier process announced here.
	answered map[netip.Addr]bool
}

// start has the announcer run in group, once it is opened. What an earlier process has left is taken over at once.
func (u *uplinks) start(ctx context.Context, group *errgroup.Group, peers []announce.Peer) error {
	u.ctx, u.group, u.opened, u.swept, u.failed = ctx, group, false, false, nil
	u.answered = map[netip.Addr]bool{}
	u.setPeers(peers)
	if !u.left() {
		return nil
	}
	return u.open()
}

// left tells whether an earlier process has left something.
func (u *uplinks) left() bool {
	_, err := os.Stat(u.pins)
	return err == nil
}

func (u *uplinks) open() error {
	if u.opened || u.failed != nil {
		return u.failed
	}
	if u.failed = u.announcer.Open(u.ctx); u.failed != nil {
		return u.failed
	}
	answered, err := u.announcer.Answered()
	u.failed = errors.Join(err, u.announcer.SetPeers(u.peers))
	if u.failed != nil {
		u.failed = errors.Join(u.failed, u.announcer.Close())
		return u.failed
	}
	for _, addr := range answered {
		u.answered[addr] = true
	}
	u.opened, u.unsent = true, false
	u.group.Go(func() error { return u.announcer.Run(u.ctx) })
	return nil
}

// setPeers notes the other nodes; sync passes them on.
func (u *uplinks) setPeers(peers []announce.Peer) {
	same := slices.EqualFunc(peers, u.peers, func(a, b announce.Peer) bool {
		return a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses)
	})
	u.peers, u.unsent = peers, u.unsent || !same
}

// sync begins a step.
func (u *uplinks) sync() error {
	u.failed = nil
	if !u.opened || !u.unsent {
		return nil
	}
	err := u.announcer.SetPeers(u.peers)
	u.unsent = err != nil
	return err
}

// apply replaces what a Service has; the zero Service has nothing.
func (u *uplinks) apply(key string, s announce.Service) error {
	if !u.opened && len(s.Addresses) == 0 {
		return nil
	}
	if err := u.open(); err != nil {
		return err
	}
	return u.announcer.Apply(key, s)
}

// sweep deletes what an earlier process left and no Service has taken over, once every Service was applied.
func (u *uplinks) sweep() error {
	if u.swept {
		return nil
	}
	if !u.opened && u.left() {
		if err := u.open(); err != nil {
			return err
		}
	}
	if u.opened {
		if err := u.announcer.Sweep(); err != nil {
			return err
		}
	}
	u.swept = true
	return nil
}

// close lets go of the programs, which stay.
func (u *uplinks) close() error {
	if !u.opened {
		return nil
	}
	u.opened = false
	return u.announcer.Close()
}

// reannounce tells the network again who has an address.
func (u *uplinks) reannounce(addr netip.Addr) {
	if u.opened {
		u.announcer.Reannounce(addr)
	}
}
