package announce

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"minato/internal/host"
)

// DefaultProbePort is the UDP port of liveness probes. MetalLB's members talk on the same one.
const DefaultProbePort = 7946

// minExpiry is several times what a process takes to renew its expiry at the latest.
const minExpiry = time.Second

// Flows returns the table of the flows that a node's Service data plane knows, nil if there is none.
type Flows = func() *ebpf.Map

// Config says where one node announces addresses.
type Config struct {
	// NodeName is the node's name, as Tables have it.
	NodeName string
	// Netns is the node's network namespace.
	Netns host.Netns
	// Links are the uplinks, where addresses are announced.
	Links []string
	// Addresses are the node's own, of each family that the cluster has. With an IPv6 address the program for IPv6 packets is
	// loaded. Probes are sent from the first one of each family.
	Addresses []netip.Addr
	// PinDir is a directory of a bpf file system, for this node's announcing alone. What is pinned there outlives the process.
	PinDir string
	// Flows returns the Service data plane's conntrack entries when the programs are loaded. Without them packets of flows
	// that this node does not know get no second chance.
	Flows Flows
	// Gateways are routers of the uplinks' networks. While no other node is heard they are asked, to find out whether that is
	// due to this node. Without one a node that hears nobody goes on.
	Gateways []netip.Addr
	// ProbePort is the UDP port of liveness probes, the same on all nodes; 0 is DefaultProbePort.
	ProbePort uint16
	// Expiry is how long the node goes on without Run; then other nodes take over what it announces, and it falls silent. With
	// 0 it goes on for ever, as where all nodes share one process: nobody could take over.
	Expiry time.Duration
	// OnView is called when the view of who is alive has changed, and OnConflict when somebody else claims an address of a
	// Service: at most ten times a second for each address. Both are called by Run and must not block; either may be nil.
	OnView     func(View)
	OnConflict func(Conflict)
	Logger     *slog.Logger
}

// validatePins checks what finds the things in the kernel.
func (c *Config) validatePins() error {
	switch {
	case c.NodeName == "":
		return errors.New("announcing: NodeName is empty; set it to the node's name in the cluster")
	case c.PinDir == "" || !filepath.IsAbs(c.PinDir):
		return fmt.Errorf("announcing of node %s: PinDir %q is not an absolute path; set it to a directory below a bpf mount", c.NodeName, c.PinDir)
	}
	return nil
}

func (c *Config) validate() error {
	if err := c.validatePins(); err != nil {
		return err
	}
	if len(c.Links) == 0 || len(c.Links) > maxLinks {
		return fmt.Errorf("announcing of node %s: %d uplinks given; give 1 to %d", c.NodeName, len(c.Links), maxLinks)
	}
	for i, name := range c.Links {
		if name == "" || slices.Contains(c.Links[:i], name) {
			return fmt.Errorf("announcing of node %s: Links %q has an empty name or one twice; name each uplink once", c.NodeName, c.Links)
		}
	}
	for _, a := range slices.Concat(c.Addresses, c.Gateways) {
		if !usable(a) {
			return fmt.Errorf("announcing of node %s: %s is no address of a node or a gateway; give addresses of single machines", c.NodeName, a)
		}
	}
	c.Gateways = slices.Clone(c.Gateways)
	for i, a := range c.Gateways {
		c.Gateways[i] = a.WithZone("")
	}
	if c.Expiry != 0 && c.Expiry < minExpiry {
		return fmt.Errorf("announcing of node %s: Expiry %s is shorter than %s, so that a restart would look like a death; give more, or 0 for never", c.NodeName, c.Expiry, minExpiry)
	}
	if c.ProbePort == 0 {
		c.ProbePort = DefaultProbePort
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// usable tells whether an address can be one of a node or a Service.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6()
}

// address returns the node's first address of a family, or an invalid one.
func (c *Config) address(ipv6 bool) netip.Addr {
	for _, a := range c.Addresses {
		if a.Is6() == ipv6 {
			return a
		}
	}
	return netip.Addr{}
}

func (c *Config) ipv6() bool { return c.address(true).IsValid() }
