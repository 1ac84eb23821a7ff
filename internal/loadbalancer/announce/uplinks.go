package announce

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
	"minato/internal/host/bpf"
)

// findUplinks looks the uplinks up and writes them. An interface that an earlier process knew keeps its number.
func (a *Announcer) findUplinks() error {
	a.uplinks = map[string]*uplink{}
	taken := map[uint32]bool{}
	for _, name := range a.cfg.Links {
		l, err := a.handle.LinkByName(name)
		if err != nil {
			return fmt.Errorf("uplink %s of node %s: %w", name, a.cfg.NodeName, err)
		}
		u := &uplink{name: name, number: maxLinks}
		u.take(l)
		if e, ok := a.links.have[uint32(u.index)]; ok {
			u.number, taken[e.Number] = e.Number, true
		}
		a.uplinks[name] = u
	}
	for _, name := range a.cfg.Links {
		u := a.uplinks[name]
		for n := uint32(0); u.number == maxLinks; n++ {
			if !taken[n] {
				u.number, taken[n] = n, true
			}
		}
	}
	a.liveness.carrier = a.carrier()
	return errors.Join(a.detachOthers(), a.writeUplinks())
}

// detachOthers takes the programs off interfaces that were uplinks of an earlier process.
func (a *Announcer) detachOthers() error {
	var errs []error
	for index := range a.links.have {
		stays := false
		for _, u := range a.uplinks {
			stays = stays || u.index == int(index)
		}
		for _, c := range classifiers {
			if !stays {
				errs = append(errs, c.Remove(a.handle, int(index), bpf.Inbound))
			}
		}
	}
	return errors.Join(errs...)
}

// take reads what matters of an interface.
func (u *uplink) take(l netlink.Link) {
	at := l.Attrs()
	u.index, u.mac = at.Index, at.HardwareAddr
	u.carrier = at.Flags&net.FlagUp != 0 && at.RawFlags&unix.IFF_LOWER_UP != 0
}

// carrier tells whether any uplink has a cable.
func (a *Announcer) carrier() bool {
	for _, u := range a.uplinks {
		if u.carrier {
			return true
		}
	}
	return false
}

// writeUplinks writes the interfaces and their hardware addresses.
func (a *Announcer) writeUplinks() error {
	links, own := map[uint32]linkEntry{}, map[mac]bool{}
	for _, u := range a.uplinks {
		if u.index != 0 {
			links[uint32(u.index)] = linkEntry{MAC: macOf(u.mac), Number: u.number}
			own[macOf(u.mac)] = true
		}
	}
	return errors.Join(a.links.replace(links), a.tidyStations(own))
}

// tidyStations sets the hardware addresses of this node, and removes those of nodes that are none any more.
func (a *Announcer) tidyStations(own map[mac]bool) error {
	m := a.collection.Maps["stations"]
	var (
		k    mac
		n    uint32
		gone []mac
		it   = m.Iterate()
	)
	for it.Next(&k, &n) {
		_, isHost := a.hosts.table.have[n]
		if n == selfNumber && !own[k] || n != selfNumber && !isHost {
			gone = append(gone, k)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read table stations: %w", err)
	}
	for _, k := range gone {
		if err := m.Delete(k); err != nil {
			return fmt.Errorf("delete hardware address %s: %w", k.Addr(), err)
		}
	}
	for k := range own {
		if err := m.Put(k, uint32(selfNumber)); err != nil {
			return writeError("stations", m, err)
		}
	}
	return nil
}

// attach attaches the programs to an uplink.
func (a *Announcer) attach(u *uplink) error {
	for name, c := range classifiers {
		p := a.collection.Programs[name]
		var err error
		if p == nil { // the cluster does not have the family
			err = c.Remove(a.handle, u.index, bpf.Inbound)
		} else {
			err = c.Set(a.handle, u.index, bpf.Inbound, p.FD())
		}
		if err != nil {
			return fmt.Errorf("attach to uplink %s of node %s: %w", u.name, a.cfg.NodeName, err)
		}
	}
	return nil
}

// linkChanged takes over a change of an interface.
func (a *Announcer) linkChanged(change netlink.LinkUpdate) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := change.Attrs().Name
	u := a.uplinks[name]
	if a.collection == nil || u == nil {
		return nil
	}
	before := *u
	if change.Header.Type == unix.RTM_DELLINK {
		if u.index != change.Attrs().Index {
			return nil
		}
		u.index, u.carrier = 0, false
	} else {
		u.take(change.Link)
	}
	defer a.liveness.setCarrier(a.carrier(), time.Now())
	if u.same(&before) {
		if u.carrier && !before.carrier {
			a.announceAll()
		}
		return nil
	}
	err := a.writeUplinks()
	if u.index != before.index {
		a.groups.forget(before.index)
		for _, s := range a.addrs {
			s.joined &^= 1 << u.number
		}
	}
	if u.index == 0 {
		return err
	}
	if u.index != before.index {
		err = errors.Join(err, a.attach(u))
		for addr := range a.addrs {
			a.joinGroups(addr)
		}
	}
	a.announceAll()
	return err
}

// followLinks passes on the kernel's messages about the uplinks until ctx ends or one was lost. It begins with all that exist.
func (a *Announcer) followLinks(ctx context.Context, out chan<- netlink.LinkUpdate) error {
	return host.FollowLinks(ctx, a.cfg.Netns, func(u netlink.LinkUpdate) error {
		if u.IfInfomsg.Family != unix.AF_UNSPEC || !slices.Contains(a.cfg.Links, u.Attrs().Name) {
			return nil
		}
		select {
		case out <- u:
		case <-ctx.Done():
		}
		return nil
	})
}
