package dataplane

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"

	"minato/internal/host"
)

// Config says where one node's data plane lives.
type Config struct {
	// Netns is the node's network namespace.
	Netns host.Netns
	// Cgroup holds every process of the node, its pods' included: its sockets are served without any packet rewritten.
	Cgroup host.Cgroup
	// PinDir is a directory of a bpf file system, for this node alone. What is pinned there outlives the process.
	PinDir string
	// Uplinks are the interfaces through which the outside reaches the node.
	Uplinks []string
	// NodeName finds the node's own entry in SetNodes.
	NodeName string
	// ServiceCIDRs are the ranges of cluster IPs.
	ServiceCIDRs []netip.Prefix
	// Limits bounds the tables; the zero value takes the defaults.
	Limits Limits
	Logger *slog.Logger
}

// Limits are the sizes of tables, in entries. Memory is taken by use, but for 8 bytes per entry and all of the flows.
type Limits struct {
	Frontends uint32 // default 131072: three for a cluster IP and port, two for any other
	Slots     uint32 // default 131072: one for each endpoint of each Service port
	Backends  uint32 // default 65536
	Flows     uint32 // default 65536: two for each translated connection
}

const (
	nodePortMin = 30000
	nodePortMax = 32767
	// Source ports for masquerading lie above the range from which the kernel gives ports to sockets by default.
	masqueradeMin = 61000
	masqueradeMax = 65535
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
	for _, p := range c.ServiceCIDRs {
		if !p.IsValid() {
			return fmt.Errorf("data plane of node %s: a Service range is invalid", c.NodeName)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
