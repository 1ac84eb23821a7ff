package bpf

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// Classifier is a place for a packet program at interfaces: a classifier of their clsact qdisc. The newer tcx links would be
// simpler, but attaching or detaching one waits for an RCU grace period, some 15 ms with the RTNL lock held, for every Pod
// that starts or stops. A classifier takes effect in microseconds, stays when this process ends, and is deleted with its
// interface.
type Classifier struct {
	// Name and Handle tell it from those of others.
	Name   string
	Handle uint32
	// Priority orders the classifiers of an interface, low numbers first. A program that returns TC_ACT_UNSPEC leaves the
	// packet to the next one. All classifiers of one priority have the same protocol.
	Priority uint16
	// Protocol is the EtherType of the packets that it is called for, or unix.ETH_P_ALL.
	Protocol uint16
}

// Direction is the way of packets at an interface.
type Direction uint32

// Inbound packets come in at the interface, outbound ones leave there.
const (
	Inbound  Direction = netlink.HANDLE_MIN_INGRESS
	Outbound Direction = netlink.HANDLE_MIN_EGRESS
)

// String is the kernel's name of the direction.
func (d Direction) String() string {
	if d == Outbound {
		return "egress"
	}
	return "ingress"
}

func (c Classifier) attrs(index int, dir Direction) netlink.FilterAttrs {
	return netlink.FilterAttrs{LinkIndex: index, Parent: uint32(dir), Handle: c.Handle, Priority: c.Priority, Protocol: c.Protocol}
}

// Set attaches the program fd to an interface for one direction. A program that is attached already is replaced atomically.
func (c Classifier) Set(h *netlink.Handle, index int, dir Direction, fd int) error {
	filter := &netlink.BpfFilter{FilterAttrs: c.attrs(index, dir), Fd: fd, Name: c.Name, DirectAction: true}
	err := h.FilterReplace(filter)
	if err == nil {
		return nil
	}
	// The interface has no clsact qdisc yet.
	if err := h.QdiscAdd(clsact(index)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact qdisc: %w", err)
	}
	if err := h.FilterReplace(filter); err != nil {
		return fmt.Errorf("set %s classifier: %w", dir, err)
	}
	return nil
}

// Remove detaches the program from an interface; it is no error if there is none. The clsact qdisc stays, see RemovePlace.
func (c Classifier) Remove(h *netlink.Handle, index int, dir Direction) error {
	err := h.FilterDel(&netlink.BpfFilter{FilterAttrs: c.attrs(index, dir)})
	if err == nil || missing(err) {
		return nil
	}
	return fmt.Errorf("remove %s classifier: %w", dir, err)
}

// missing tells whether an error says that the interface, its clsact qdisc (EINVAL) or the classifier isn't there.
func missing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}

// Has tells whether the classifier is among filters of an interface, whatever its priority there.
func (c Classifier) Has(filters []netlink.Filter) bool {
	for _, f := range filters {
		if bpf, ok := f.(*netlink.BpfFilter); ok && bpf.Handle == c.Handle && bpf.Name == c.Name {
			return true
		}
	}
	return false
}

// Links returns the interfaces that have the classifier in the direction, whatever its priority.
func (c Classifier) Links(h *netlink.Handle, dir Direction) ([]netlink.Link, error) {
	links, err := host.ListLinks(h)
	if err != nil {
		return nil, err
	}
	var out []netlink.Link
	for _, l := range links {
		filters, err := h.FilterList(l, uint32(dir))
		if err != nil {
			continue // the interface is gone, or can't have classifiers
		}
		if c.Has(filters) {
			out = append(out, l)
		}
	}
	return out, nil
}

// RemovePlace removes an interface's clsact qdisc, unless it has classifiers.
func RemovePlace(h *netlink.Handle, l netlink.Link) error {
	for _, dir := range []Direction{Inbound, Outbound} {
		if filters, err := h.FilterList(l, uint32(dir)); err != nil || len(filters) > 0 {
			return nil
		}
	}
	err := h.QdiscDel(clsact(l.Attrs().Index))
	if err == nil || missing(err) {
		return nil
	}
	return fmt.Errorf("remove clsact qdisc: %w", err)
}

func clsact(index int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0)}}
}
