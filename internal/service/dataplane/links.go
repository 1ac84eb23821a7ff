package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// servesLink tells whether the packet programs belong on an interface under AllLinks: on each virtual Ethernet interface
// other than the data plane's own and the uplinks. That includes tunnels between nodes, by which replies of other nodes'
// Pods come. It excludes the interfaces below an uplink (members of a bond or bridge, the parent of a VLAN), which have the
// same packets as the uplink.
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

// attachLinks attaches the programs to every interface that servesLink allows, and detaches them from others, to which an
// earlier process with other uplinks may have attached them.
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

// attachLink attaches to an interface of a CNI plugin, which may delete it at any time.
func (d *DataPlane) attachLink(l netlink.Link) error {
	for _, dir := range []direction{inbound, outbound} {
		if err := d.attachAnew(l.Attrs().Index, dir); err != nil {
			if _, gone := d.links.LinkByIndex(l.Attrs().Index); errors.As(gone, new(netlink.LinkNotFoundError)) {
				return nil
			}
			return err
		}
	}
	return d.addExit(l)
}

// linksAgainAfter is the pause before interfaces are watched again after a failure.
const linksAgainAfter = time.Second

// FollowLinks attaches the programs to new interfaces until ctx ends. It is for a data plane with AllLinks, whose Open
// attaches them to the interfaces that exist already.
func (d *DataPlane) FollowLinks(ctx context.Context) error {
	for {
		if err := d.followLinks(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("Interfaces can't be watched; Pods that start now are served once that succeeds again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(linksAgainAfter):
		}
	}
}

// followLinks handles the kernel's messages about interfaces until one was lost.
func (d *DataPlane) followLinks(ctx context.Context) error {
	attached := map[int]bool{}
	return host.FollowLinks(ctx, d.cfg.Netns, func(u netlink.LinkUpdate) error {
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
		return nil
	})
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
