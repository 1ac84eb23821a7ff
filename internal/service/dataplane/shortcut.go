package dataplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// shortcut says until when translated packets may leave straight by the interface of their route, past the kernel's
// forwarding and whoever looks at packets there; in seconds of the monotonic clock, 0 for not at all.
type shortcut struct{ Until4, Until6 uint32 }

const (
	// shortcutEvery is how often somebody is looked for who inspects forwarded packets. Where somebody does, there may be
	// much to look through and it can wait.
	shortcutEvery = time.Second
	shortcutAgain = 5 * time.Second
	// shortcutSeconds is how long the shortcut stays open without another look.
	shortcutSeconds = 4
)

// keepShortcut opens the shortcut for each family whose forwarded packets nobody inspects, until ctx ends. It closes by
// itself soon afterwards.
func (d *DataPlane) keepShortcut(ctx context.Context) {
	var told host.Inspection
	for {
		is, err := d.cfg.Netns.Inspects()
		if err != nil {
			d.log.Warn("Translated packets pass the kernel's forwarding, since nobody can tell who looks at packets there", "error", err)
			is = host.Inspection{IPv4: true, IPv6: true}
		} else if is != told {
			d.log.Info("Who looks at forwarded packets gets to see translated ones", "ipv4", is.IPv4, "ipv6", is.IPv6)
		}
		told = is
		if err := d.openShortcut(is); err != nil && !errors.Is(err, errClosed) {
			d.log.Warn("Translated packets pass the kernel's forwarding", "error", err)
		}
		pause := shortcutEvery
		if is.IPv4 && is.IPv6 {
			pause = shortcutAgain
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (d *DataPlane) openShortcut(is host.Inspection) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return errClosed
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	var s shortcut
	if !is.IPv4 {
		s.Until4 = uint32(now.Sec) + shortcutSeconds
	}
	if !is.IPv6 {
		s.Until6 = uint32(now.Sec) + shortcutSeconds
	}
	if err := d.collection.Maps["shortcut"].Put(uint32(0), &s); err != nil {
		return fmt.Errorf("open the shortcut: %w", err)
	}
	return nil
}

func (d *DataPlane) exits() kernelTable[uint32, uint32] {
	return kernelTable[uint32, uint32]{d.collection.Maps["exits"]}
}

// addExit lets the shortcut lead out by an interface of Ethernet frames.
func (d *DataPlane) addExit(l netlink.Link) error {
	if l.Attrs().EncapType != "ether" {
		return nil
	}
	err := d.exits().put([]uint32{uint32(l.Attrs().Index)}, []uint32{1})
	if errors.Is(err, unix.E2BIG) {
		return nil // its packets take the long way
	}
	return err
}

// pruneExits forgets interfaces that are gone.
func (d *DataPlane) pruneExits() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return errClosed
	}
	links, err := host.ListLinks(d.links)
	if err != nil {
		return err
	}
	have := map[uint32]bool{}
	for _, l := range links {
		have[uint32(l.Attrs().Index)] = true
	}
	var gone []uint32
	err = d.exits().each(func(index, _ uint32) {
		if !have[index] {
			gone = append(gone, index)
		}
	})
	return errors.Join(err, d.exits().remove(gone))
}
