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
	Apply(key string, s announce.Service) error
	SetPeers(peers []announce.Peer) error
	Sweep() error
	Reannounce(addrs ...netip.Addr)
}

// uplinks are the node's announcer, which is opened with the first Service that needs something, or if an earlier process
// has left something.
type uplinks struct {
	announcer announcer
	pins      string

	ctx    context.Context
	group  *errgroup.Group
	opened bool
	swept  bool
	peers  []announce.Peer
}

// start has the announcer run in group, once it is opened.
func (u *uplinks) start(ctx context.Context, group *errgroup.Group) {
	u.ctx, u.group, u.opened, u.swept = ctx, group, false, false
}

func (u *uplinks) open() error {
	if u.opened {
		return nil
	}
	if err := u.announcer.Open(u.ctx); err != nil {
		return err
	}
	if err := u.announcer.SetPeers(u.peers); err != nil {
		return errors.Join(err, u.announcer.Close())
	}
	u.opened = true
	u.group.Go(func() error { return u.announcer.Run(u.ctx) })
	return nil
}

// left tells whether an earlier process has left something.
func (u *uplinks) left() bool {
	_, err := os.Stat(u.pins)
	return err == nil
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

func (u *uplinks) setPeers(peers []announce.Peer) error {
	same := slices.EqualFunc(peers, u.peers, func(a, b announce.Peer) bool {
		return a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses)
	})
	u.peers = peers
	if !u.opened || same {
		return nil
	}
	return u.announcer.SetPeers(peers)
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
