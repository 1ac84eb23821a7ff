package dataplane

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"

	"minato/internal/host"
)

// Config says where one node's data plane lives.
type Config struct {
	// Netns is the node's network namespace.
	Netns host.Netns
	// Cgroup contains every process of the node, those of its Pods included. The socket programs are attached to it.
	Cgroup host.Cgroup
	// PinDir is a directory of a bpf file system, for this node alone. Tables and links that are pinned there outlive the
	// process.
	PinDir string
	// Uplinks are the interfaces through which the outside reaches the node.
	Uplinks []string
	// AllLinks attaches the packet programs to every interface that may lead to Pods, also to those that come later, see
	// FollowLinks. It is for nodes where a CNI plugin makes the Pods' interfaces. Masqueraded traffic then takes the source
	// address of its route, which behind a tunnel is not the node's (Linux 6.7 or newer).
	AllLinks bool
	// NodePortsAt tells whether NodePorts are served at an address of the node; nil means at all of them.
	NodePortsAt func(netip.Addr) bool
	// NodeName finds the node's own entry in SetNodes.
	NodeName string
	// NodeIPs are the node's own addresses, one of each family that the cluster has; masqueraded traffic takes them.
	// They are on an uplink, and duplicate address detection of an IPv6 one is over or was off. With an IPv6 address the
	// programs for IPv6 packets are loaded.
	NodeIPs []netip.Addr
	// ServiceCIDRs are the ranges of cluster IPs, of families that NodeIPs has too.
	ServiceCIDRs []netip.Prefix
	// Limits bounds the tables; the zero value takes the defaults.
	Limits Limits
	Logger *slog.Logger
}

// Limits are the sizes of tables, in entries. An unused entry takes 16 bytes, or in the table of flows as much as a used one.
type Limits struct {
	Frontends uint32 // default 262144: three for each cluster IP and port, two for each other frontend
	Slots     uint32 // default 262144: one for each endpoint of each Service port
	Backends  uint32 // default 131072
	Flows     uint32 // default 65536: two for each translated connection
}

const (
	nodePortMin = 30000
	nodePortMax = 32767
	// Source ports for masquerading, see masqueradePorts.
	masqueradeMin = 61000
	masqueradeMax = 65535
	lowestPort    = 1024
)

func (c *Config) validate() error {
	switch {
	case c.NodeName == "":
		return errors.New("data plane: NodeName is empty; set it to the node's name in the cluster")
	case c.PinDir == "" || !filepath.IsAbs(c.PinDir):
		return fmt.Errorf("data plane of node %s: PinDir %q is not an absolute path; set it to a directory below a bpf mount", c.NodeName, c.PinDir)
	case len(c.Uplinks) > maxUplinks:
		return fmt.Errorf("data plane of node %s: %d uplinks given, at most %d are supported", c.NodeName, len(c.Uplinks), maxUplinks)
	case len(c.ServiceCIDRs) > maxRanges:
		return fmt.Errorf("data plane of node %s: %d Service ranges given, at most %d are supported", c.NodeName, len(c.ServiceCIDRs), maxRanges)
	}
	if err := c.validateAddresses(); err != nil {
		return fmt.Errorf("data plane of node %s: %w", c.NodeName, err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (c *Config) validateAddresses() error {
	for i, a := range c.NodeIPs {
		if !a.IsValid() || a.IsUnspecified() || a.Is4In6() {
			return fmt.Errorf("NodeIPs has %s; give the node's own addresses", a)
		}
		if slices.ContainsFunc(c.NodeIPs[:i], func(o netip.Addr) bool { return o.Is6() == a.Is6() }) {
			return fmt.Errorf("NodeIPs %v has two addresses of one family; give one of each", c.NodeIPs)
		}
	}
	for _, p := range c.ServiceCIDRs {
		if !p.IsValid() {
			return errors.New("ServiceCIDRs has an invalid range")
		}
		if !c.nodeIP(p.Addr().Is6()).IsValid() {
			return fmt.Errorf("ServiceCIDRs has %s, but NodeIPs %v has no address of its family; add the node's", p, c.NodeIPs)
		}
	}
	return nil
}

// nodeIP is the node's address of a family, or the zero address.
func (c *Config) nodeIP(ipv6 bool) netip.Addr {
	for _, a := range c.NodeIPs {
		if a.Is6() == ipv6 {
			return a
		}
	}
	return netip.Addr{}
}

// ipv6 tells whether the cluster has IPv6.
func (c *Config) ipv6() bool { return c.nodeIP(true).IsValid() }
