package dataplane

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// netnsCookie returns the cookie by which the socket programs recognise the node's network namespace.
func netnsCookie(ns host.Netns) (cookie uint64, err error) {
	err = ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket: %w", err)
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cookie of network namespace %s: %w", ns.Name, err)
	}
	return cookie, nil
}

const (
	reservedPorts = "net/ipv4/ip_local_reserved_ports"
	socketPorts   = "net/ipv4/ip_local_port_range"
)

// masqueradePorts returns the source ports for masqueraded traffic. Their number limits the connections to one backend, so the
// range is all ports below the NodePorts, if the kernel's ephemeral ports are above those, as they are by default. Otherwise
// it is the small range that reservePorts reserves.
func masqueradePorts(ns host.Netns) (low, high uint16, err error) {
	var text string
	err = ns.Do(func() error {
		text, err = host.ReadSysctl(socketPorts)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	var first, last int
	if _, err := fmt.Sscan(text, &first, &last); err != nil {
		return 0, 0, fmt.Errorf("read %s: %q: %w", socketPorts, text, err)
	}
	if first >= nodePortMin {
		return lowestPort, nodePortMin - 1, nil
	}
	return masqueradeMin, masqueradeMax, nil
}

// ownPorts are the ranges that the kernel must not use as ephemeral ports: NodePorts, and the small range for masquerading.
func ownPorts() []string {
	return []string{fmt.Sprintf("%d-%d", nodePortMin, nodePortMax), fmt.Sprintf("%d-%d", masqueradeMin, masqueradeMax)}
}

// reservePorts adds ownPorts to the reserved ports, and keeps those that others have reserved.
func reservePorts(ns host.Netns) error {
	return editReserved(ns, func(have []string) []string {
		for _, p := range ownPorts() {
			if !slices.Contains(have, p) {
				have = append(have, p)
			}
		}
		return have
	})
}

// releasePorts removes ownPorts from the reserved ports.
func releasePorts(ns host.Netns) error {
	return editReserved(ns, func(have []string) []string {
		return slices.DeleteFunc(have, func(p string) bool { return slices.Contains(ownPorts(), p) })
	})
}

func editReserved(ns host.Netns, edit func([]string) []string) error {
	return ns.Do(func() error {
		text, err := host.ReadSysctl(reservedPorts)
		if err != nil {
			return err
		}
		have := strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
		want := strings.Join(edit(slices.Clone(have)), ",")
		if want == text {
			return nil
		}
		return host.Sysctl(reservedPorts, want+"\n") // the kernel ignores an empty write
	})
}
