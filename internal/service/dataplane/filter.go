package dataplane

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// Packet programs are attached to interfaces as classifiers of a clsact qdisc. The newer tcx links would be simpler, but
// attaching or detaching one waits for an RCU grace period, some 15 ms with the RTNL lock held, for every Pod that starts or
// stops. A classifier takes effect in microseconds, stays when this process ends, and is deleted with its interface.
const (
	filterName   = "minato-service"
	filterHandle = 0x6d6e
	// IPv4's classifier runs first. It is called for every packet, and passes those of other protocols to the next one, which
	// is IPv6's.
	filterPriority  = 1
	filterPriority6 = 2
)

type direction uint32

const (
	inbound  direction = netlink.HANDLE_MIN_INGRESS
	outbound direction = netlink.HANDLE_MIN_EGRESS
)

func (d direction) String() string {
	if d == outbound {
		return "egress"
	}
	return "ingress"
}

// program names the program for one direction and family.
func (d direction) program(ipv6 bool) string {
	if ipv6 {
		return d.String() + "6"
	}
	return d.String()
}

func filterAttrs(index int, dir direction, ipv6 bool) netlink.FilterAttrs {
	attrs := netlink.FilterAttrs{
		LinkIndex: index, Parent: uint32(dir), Handle: filterHandle, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
	}
	if ipv6 {
		attrs.Priority, attrs.Protocol = filterPriority6, unix.ETH_P_IPV6
	}
	return attrs
}

// setFilter attaches the program fd to an interface for one direction and family. A program that is attached already is
// replaced atomically.
func setFilter(h *netlink.Handle, index int, dir direction, ipv6 bool, fd int) error {
	filter := &netlink.BpfFilter{FilterAttrs: filterAttrs(index, dir, ipv6), Fd: fd, Name: filterName, DirectAction: true}
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

// removeFilters detaches the programs of both families from an interface. The clsact qdisc stays, see removePlace.
func removeFilters(h *netlink.Handle, index int, dir direction) error {
	for _, ipv6 := range []bool{false, true} {
		err := h.FilterDel(&netlink.BpfFilter{FilterAttrs: filterAttrs(index, dir, ipv6)})
		if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
			continue // EINVAL: there is no clsact qdisc
		}
		return fmt.Errorf("remove %s classifier: %w", dir, err)
	}
	return nil
}

// removePlace removes an interface's clsact qdisc, unless it has classifiers of others.
func removePlace(h *netlink.Handle, l netlink.Link) error {
	for _, dir := range []direction{inbound, outbound} {
		if filters, err := h.FilterList(l, uint32(dir)); err != nil || len(filters) > 0 {
			return nil
		}
	}
	err := h.QdiscDel(clsact(l.Attrs().Index))
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("remove clsact qdisc: %w", err)
}

func clsact(index int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0)}}
}

// filtered returns the interfaces that have one of our filters in the direction.
func filtered(h *netlink.Handle, dir direction) ([]netlink.Link, error) {
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
		for _, f := range filters {
			if bpf, ok := f.(*netlink.BpfFilter); ok && bpf.Handle == filterHandle && bpf.Name == filterName {
				out = append(out, l)
				break
			}
		}
	}
	return out, nil
}
