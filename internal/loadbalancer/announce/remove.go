package announce

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"minato/internal/host/bpf"
)

// Remove takes the programs and tables of a node out of the kernel. It works after a crash and is fine when there is nothing
// left to remove. It needs NodeName, Netns and PinDir only. An open Announcer of the same node must be closed first.
func Remove(cfg Config) error {
	err := cfg.validatePins()
	if err != nil {
		return err
	}
	if cfg.Netns.Exists() {
		err = errors.Join(removeGroups(cfg), removeClassifiers(cfg))
	}
	if e := os.RemoveAll(cfg.PinDir); e != nil {
		err = errors.Join(err, fmt.Errorf("remove pins of node %s: %w", cfg.NodeName, e))
	}
	return err
}

func removeClassifiers(cfg Config) error {
	h, err := cfg.Netns.Handle()
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := classifiers[program4].Links(h, bpf.Inbound)
	if err != nil {
		return err
	}
	for _, l := range links {
		var errs []error
		for _, c := range classifiers {
			errs = append(errs, c.Remove(h, l.Attrs().Index, bpf.Inbound))
		}
		if err := errors.Join(append(errs, bpf.RemovePlace(h, l))...); err != nil {
			return fmt.Errorf("interface %s of node %s: %w", l.Attrs().Name, cfg.NodeName, err)
		}
	}
	return nil
}

// removeGroups takes multicast groups out of the uplinks' filters.
func removeGroups(cfg Config) error {
	groups := map[netip.Addr]bool{}
	err := eachPinned(cfg, "addresses", func(k address, e addressEntry) {
		if addr := k.Addr(); addr.Is6() && e.Flags&addressAnswer != 0 {
			groups[solicitedNode(addr)] = true
		}
	})
	if err != nil || len(groups) == 0 {
		return err
	}
	var links []int
	if err := eachPinned(cfg, "links", func(index uint32, _ linkEntry) { links = append(links, int(index)) }); err != nil {
		return err
	}
	return cfg.Netns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open socket for multicast groups: %w", err)
		}
		defer unix.Close(fd)
		for _, index := range links {
			link, err := net.InterfaceByIndex(index)
			if err != nil {
				continue // it is gone, and its filter with it
			}
			for group := range groups {
				_ = filterGroup(fd, link.Name, group, unix.SIOCDELMULTI) // it may not be there
			}
		}
		return nil
	})
}

// eachPinned reads a pinned table, if there is one.
func eachPinned[K, V any](cfg Config, name string, fn func(K, V)) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(cfg.PinDir, "maps-"+layoutVersion, name), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open pinned table %s: %w", name, err)
	}
	defer m.Close()
	var (
		k  K
		v  V
		it = m.Iterate()
	)
	for it.Next(&k, &v) {
		fn(k, v)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read table %s: %w", name, err)
	}
	return nil
}
