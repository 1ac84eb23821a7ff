package dataplane

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host/bpf"
)

const (
	filterName   = "minato-service"
	filterHandle = 0x6d6e
)

// IPv4's classifier runs first. It is called for every packet, and passes those of other protocols to the next one, which
// is IPv6's. Lower priorities are for what must see packets before they are translated: load balancing, which may hand
// them on to another node.
var filters = [...]bpf.Classifier{
	{Name: filterName, Handle: filterHandle, Priority: 3, Protocol: unix.ETH_P_ALL},
	{Name: filterName, Handle: filterHandle, Priority: 4, Protocol: unix.ETH_P_IPV6},
}

// earlierFilters are where processes of earlier versions attached the programs.
var earlierFilters = [...]bpf.Classifier{
	{Name: filterName, Handle: filterHandle, Priority: 1, Protocol: unix.ETH_P_ALL},
	{Name: filterName, Handle: filterHandle, Priority: 2, Protocol: unix.ETH_P_IPV6},
}

type direction = bpf.Direction

const (
	inbound  = bpf.Inbound
	outbound = bpf.Outbound
)

// programFor names the program for one direction and family.
func programFor(d direction, ipv6 bool) string {
	if ipv6 {
		return d.String() + "6"
	}
	return d.String()
}

// setFilter attaches the program fd to an interface for one direction and family. A program that is attached already is
// replaced atomically.
func setFilter(h *netlink.Handle, index int, dir direction, ipv6 bool, fd int) error {
	if ipv6 {
		return filters[1].Set(h, index, dir, fd)
	}
	return filters[0].Set(h, index, dir, fd)
}

// removeFilters detaches the programs of both families from an interface. The clsact qdisc stays.
func removeFilters(h *netlink.Handle, index int, dir direction) error {
	var err error
	for _, f := range filters {
		err = errors.Join(err, f.Remove(h, index, dir))
	}
	return errors.Join(err, removeEarlierFilters(h, index, dir))
}

// removeEarlierFilters detaches what an earlier version attached, once the programs are attached anew. While both are
// there, the earlier ones work first, on the same tables.
func removeEarlierFilters(h *netlink.Handle, index int, dir direction) error {
	var err error
	for _, f := range earlierFilters {
		err = errors.Join(err, f.Remove(h, index, dir))
	}
	return err
}

// filtered returns the interfaces that have one of our filters in the direction.
func filtered(h *netlink.Handle, dir direction) ([]netlink.Link, error) {
	return filters[0].Links(h, dir)
}
