package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// servesLink tells whether packets that come from an interface may be a Pod's: it is one of Ethernet frames that is no
// piece of hardware, and neither ours nor an uplink. Tunnels between nodes are served too, for answers of other nodes'
// Pods come in there. What an uplink is made of, be it the members of a bond or a bridge or what carries a VLAN, shows
// the uplink's packets, and those are looked at once, as the uplink's.
func servesLink(l netlink.Link, uplinks []netlink.Link) bool {
	a := l.Attrs()
	if a.Name == routeLink || a.Name == injectLink || a.Flags&net.FlagLoopback != 0 || a.EncapType != "ether" || l.Type() == "device" {
		return false
	}
	return !slices.ContainsFunc(uplinks, func(up netlink.Link) bool {
		u := up.Attrs()
		// A veth's parent is its other end, which may be in another namespace.
		below := up.Type() != "veth" && u.ParentIndex == a.Index
		return u.Index == a.Index || a.MasterIndex == u.Index || below
	})
}

// uplinks looks the uplinks up.
func (d *DataPlane) uplinks() ([]netlink.Link, error) {
	var out []netlink.Link
	for _, name := range d.cfg.Uplinks {
		l, err := d.links.LinkByName(name)
		if err != nil {
			return nil, fmt.Errorf("uplink %s of node %s: %w", name, d.cfg.NodeName, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// attachLinks attaches to every interface that is to be served, and takes the programs off those that were, by an
// earlier process with other uplinks.
func (d *DataPlane) attachLinks() error {
	uplinks, err := d.uplinks()
	if err != nil {
		return err
	}
	all, err := host.ListLinks(d.links)
	if err != nil {
		return err
	}
	serves := map[int]bool{}
	for _, l := range all {
		if serves[l.Attrs().Index] = servesLink(l, uplinks); !serves[l.Attrs().Index] {
			continue
		}
		if err := d.attachLink(l); err != nil {
			return err
		}
	}
	for _, up := range uplinks {
		serves[up.Attrs().Index] = true
	}
	for _, dir := range []direction{inbound, outbound} {
		have, err := filtered(d.links, dir)
		if err != nil {
			return err
		}
		for _, l := range have {
			a := l.Attrs()
			if serves[a.Index] || a.Index == loopbackIndex || a.Name == injectLink {
				continue
			}
			if err := removeFilters(d.links, a.Index, dir); err != nil {
				return fmt.Errorf("interface %s of node %s: %w", a.Name, d.cfg.NodeName, err)
			}
		}
	}
	return nil
}

// attachLink attaches to an interface that somebody else made and may take away at any time.
func (d *DataPlane) attachLink(l netlink.Link) error {
	for _, dir := range []direction{inbound, outbound} {
		if err := d.attachPackets(l.Attrs().Index, dir); err != nil {
			if _, gone := d.links.LinkByIndex(l.Attrs().Index); errors.As(gone, new(netlink.LinkNotFoundError)) {
				return nil
			}
			return err
		}
	}
	return d.addExit(l)
}

const (
	// linksBuffer is for a burst of Pods, in bytes.
	linksBuffer = 1 << 20
	// linksAgainAfter is the pause before the interfaces are followed again after a failure.
	linksAgainAfter = time.Second
)

// FollowLinks attaches the programs to interfaces as they come, until ctx ends. It is for a data plane with AllLinks;
// what was there when it was opened is attached to already.
func (d *DataPlane) FollowLinks(ctx context.Context) error {
	for {
		if err := d.followLinks(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("New interfaces are not noticed for a moment", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(linksAgainAfter):
		}
	}
}

// followLinks works through what the kernel tells until that is no longer complete.
func (d *DataPlane) followLinks(ctx context.Context) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	var lost error
	options := netlink.LinkSubscribeOptions{
		ListExisting: true, ReceiveBufferSize: linksBuffer, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) { lost = err },
	}
	if d.cfg.Netns.Path != "" {
		ns, err := netns.GetFromPath(d.cfg.Netns.Path)
		if err != nil {
			return fmt.Errorf("open network namespace %s: %w", d.cfg.Netns.Name, err)
		}
		defer ns.Close()
		options.Namespace = &ns
	}
	if err := netlink.LinkSubscribeWithOptions(updates, done, options); err != nil {
		return fmt.Errorf("follow links: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { close(done) })
	defer func() {
		if stop() {
			close(done)
		}
		for range updates { // the subscription ends only when nobody keeps it waiting
		}
	}()
	attached := map[int]bool{}
	for u := range updates {
		switch {
		case u.Header.Type == unix.RTM_DELLINK && u.IfInfomsg.Family == unix.AF_UNSPEC:
			delete(attached, int(u.Index))
		case u.Header.Type == unix.RTM_NEWLINK && !attached[int(u.Index)]:
			is, err := d.linkCame(u.Link)
			if err != nil {
				return err
			}
			attached[int(u.Index)] = is
		}
	}
	return lost
}

// linkCame attaches to an interface if it is to be served. Whether it is may change while it is being set up.
func (d *DataPlane) linkCame(l netlink.Link) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return false, errClosed
	}
	uplinks, err := d.uplinks()
	if err != nil || !servesLink(l, uplinks) {
		return false, err
	}
	return true, d.attachLink(l)
}
