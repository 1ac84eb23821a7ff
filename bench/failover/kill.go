package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"minato/bench/lab"
)

// way is how a node is lost.
type way string

// The ways. In the first the node's own kernel sees that its link is down, as
// neighbours would see that of a machine without power; in the second nothing
// but missing packets tells.
const (
	linkDown      way = "link down"
	unplugged     way = "unplugged"
	interfaceGone way = "interface removed"
)

var ways = []way{linkDown, unplugged, interfaceGone}

// port is the bridge's port of a node.
func port(node string) string { return clusterName + "-n" + strings.TrimPrefix(node, "node-") }

func netnsOf(node string) string { return clusterName + "-" + node }

// kill cuts a node off and tells when that began.
func (c *cluster) kill(ctx context.Context, w way, node string) (time.Time, error) {
	args := map[way][]string{
		linkDown:      {"link", "set", port(node), "down"},
		unplugged:     {"link", "set", port(node), "nomaster"},
		interfaceGone: {"-n", netnsOf(node), "link", "delete", "eth0"},
	}[w]
	began := time.Now()
	_, err := lab.Command(ctx, nil, "ip", args...)
	return began, err
}

// restore brings the node back; only a new start of the cluster makes an interface again.
func (c *cluster) restore(ctx context.Context, w way, node string) error {
	switch w {
	case linkDown:
		_, err := lab.Command(ctx, nil, "ip", "link", "set", port(node), "up")
		return err
	case unplugged:
		_, err := lab.Command(ctx, nil, "ip", "link", "set", port(node), "master", bridge)
		return err
	}
	if _, err := c.run(ctx, "down", "--name", clusterName); err != nil {
		return err
	}
	if err := c.up(ctx); err != nil {
		return err
	}
	for _, m := range c.machines() {
		if err := m.plug(ctx); err != nil {
			return err
		}
	}
	if err := c.podsReady(ctx); err != nil {
		return err
	}
	if c.has(metallbName) {
		return c.await(ctx, "MetalLB's getting ready again", c.metallbReady)
	}
	return nil
}

func (c *cluster) has(name string) bool {
	for _, s := range c.systems {
		if s.name == name {
			return true
		}
	}
	return false
}

// settled is for how long one node alone must have answered.
const settled = 2 * time.Second

// announcer waits until one node alone answers for the system's address, and names it.
func (c *cluster) announcer(ctx context.Context, s *system) (string, error) {
	var node string
	since := time.Now()
	err := c.await(ctx, "one node's alone answering for "+s.name+"'s "+s.address.String(), func(ctx context.Context) (bool, error) {
		var claims []claim
		err := c.prober.ask(ctx, order{Do: whoHas, Addresses: []netip.Addr{s.address}, For: 300 * time.Millisecond}, &claims)
		if err != nil {
			return false, err
		}
		macs := map[string]bool{}
		for _, cl := range claims {
			if cl.Address == s.address {
				macs[cl.MAC] = true
			}
		}
		if len(macs) != 1 {
			node = ""
			return false, fmt.Errorf("%d nodes answer", len(macs))
		}
		for mac := range macs {
			now, err := c.nodeWith(ctx, mac)
			if err != nil {
				return false, err
			}
			if now != node {
				node, since = now, time.Now()
			}
		}
		return time.Since(since) > settled, nil
	})
	return node, err
}

// sendsTo is the node that the client's packets for the system's address go to.
func (c *cluster) sendsTo(ctx context.Context, s *system) (string, error) {
	out, err := lab.Command(ctx, nil, "ip", "-n", c.client.name, "-j", "neigh", "show", "to", s.address.String(), "dev", "eth0")
	if err != nil {
		return "", err
	}
	var entries []struct {
		MAC string `json:"lladdr"`
	}
	if err := json.Unmarshal(out, &entries); err != nil {
		return "", fmt.Errorf("the client's neighbours: %w", err)
	}
	if len(entries) != 1 || entries[0].MAC == "" {
		return "", fmt.Errorf("the client knows nobody who has %s: %s", s.address, out)
	}
	return c.nodeWith(ctx, entries[0].MAC)
}

// nodeWith finds the node by the hardware address of its interface.
func (c *cluster) nodeWith(ctx context.Context, mac string) (string, error) {
	for _, node := range c.nodeNames() {
		out, err := lab.Command(ctx, nil, "ip", "netns", "exec", netnsOf(node), "cat", "/sys/class/net/eth0/address")
		if err != nil {
			return "", err
		}
		own, err := net.ParseMAC(string(bytes.TrimSpace(out)))
		if err != nil {
			return "", err
		}
		if own.String() == mac {
			return node, nil
		}
	}
	return "", fmt.Errorf("no node has the hardware address %s that answered", mac)
}
