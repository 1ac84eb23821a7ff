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

// shortcut is the fast path of translated packets: until when those of a family may leave by the interface of their route,
// past the kernel's forwarding; in seconds of the monotonic clock, 0 for not at all.
type shortcut struct{ Until4, Until6 uint32 }

const (
	// shortcutEvery is the pause between two looks for packet filters and IPsec policies. Where there are some the pause is
	// shortcutAgain, because they may be many.
	shortcutEvery = time.Second
	shortcutAgain = 5 * time.Second
	// shortcutSeconds is how long the fast path stays open after a look.
	shortcutSeconds = 4
)

// keepShortcut keeps the fast path open for each family whose forwarded packets no packet filter and no IPsec policy sees,
// until ctx ends. It closes by itself soon afterwards.
func (d *DataPlane) keepShortcut(ctx context.Context) {
	var told host.Inspection
	failing := false
	for {
		is, err := d.cfg.Netns.Inspects()
		if err != nil {
			is = host.Inspection{IPv4: true, IPv6: true}
		}
		err = errors.Join(err, d.openShortcut(is))
		switch {
		case errors.Is(err, errClosed):
		case err != nil && !failing:
			d.log.Warn("The fast path is closed and translated packets pass the kernel's forwarding, because whether a packet filter must see them can't be found out",
				"error", err)
		case err == nil && (is != told || failing):
			d.log.Info("The fast path of translated packets is closed for families with a packet filter or an IPsec policy", "closed4", is.IPv4, "closed6", is.IPv6)
		}
		told, failing = is, err != nil
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
		return fmt.Errorf("open the fast path: %w", err)
	}
	return nil
}

func (d *DataPlane) exits() kernelTable[uint32, uint32] {
	return kernelTable[uint32, uint32]{d.collection.Maps["exits"]}
}

// addExit allows the fast path to an interface, if that has Ethernet frames.
func (d *DataPlane) addExit(l netlink.Link) error {
	if l.Attrs().EncapType != "ether" {
		return nil
	}
	err := d.exits().put([]uint32{uint32(l.Attrs().Index)}, []uint32{1})
	if errors.Is(err, unix.E2BIG) {
		return nil // the table is full, and packets to the interface pass the kernel's forwarding
	}
	return err
}

// pruneExits removes deleted interfaces from the fast path.
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
