package dataplane

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"

	"minato/internal/host/bpf"
)

// Remove takes the data plane of a node out of the kernel: programs, tables and links. It works after a crash and is
// fine when there is nothing left to remove. An open DataPlane of the same node must be closed first.
func Remove(cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	// The socket programs are detached when the pins of their links are removed.
	err := os.RemoveAll(cfg.PinDir)
	if err != nil {
		err = fmt.Errorf("remove pins of node %s: %w", cfg.NodeName, err)
	}
	return errors.Join(err, removeLinks(cfg))
}

func removeLinks(cfg Config) error {
	if !cfg.Netns.Exists() {
		return nil
	}
	h, err := cfg.Netns.Handle()
	if err != nil {
		return err
	}
	defer h.Close()
	if err := releasePorts(cfg.Netns); err != nil {
		return err
	}
	for _, dir := range []direction{inbound, outbound} {
		links, err := filtered(h, dir)
		if err != nil {
			return err
		}
		for _, l := range links {
			err := errors.Join(removeFilters(h, l.Attrs().Index, dir), bpf.RemovePlace(h, l))
			if err != nil {
				return fmt.Errorf("interface %s of node %s: %w", l.Attrs().Name, cfg.NodeName, err)
			}
		}
	}
	l, err := h.LinkByName(routeLink)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up link %s: %w", routeLink, err)
	}
	if err := h.LinkDel(l); err != nil {
		return fmt.Errorf("delete link %s of node %s: %w", routeLink, cfg.NodeName, err)
	}
	return nil
}
