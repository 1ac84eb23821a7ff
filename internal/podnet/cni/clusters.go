package cni

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"minato/internal/host"
)

// A configuration for a runtime that serves several nodes names no socket but a
// directory, below which every cluster writes down which of its nodes runs a Pod:
//
//	CLUSTER/cni/pods/UID   the node's socket, and "node" for a Pod on the node's network
//	CLUSTER/cni/NODE.sock  the sockets
const (
	recordsBelow = "cni/pods"
	socketsBelow = "cni/*.sock"
	// onNode follows the socket in the record of a Pod on the node's network.
	onNode = "node"
	// argUID is how runtimes name a Pod in CNI_ARGS, as the kubelet's CNI plugins
	// expect it.
	argUID = "K8S_POD_UID"
)

// place is where a call goes.
type place struct {
	socket string
	onNode bool // the Pod is on the node's network
}

// places are where the call goes: none if there is nobody to be told.
func (c *call) places() ([]place, error) {
	if c.net.Clusters == "" {
		return []place{{socket: c.net.Socket}}, nil
	}
	switch c.command {
	case cmdGC:
		// The runtime lists what it has itself, and nodes may have other runtimes with
		// a network of this name. A node looks for what is left of its own one.
		return nil, nil
	case cmdStatus:
		return c.allNodes()
	}
	uid := argument(c.args, argUID)
	if uid == "" && c.command == cmdDel {
		return nil, nil // nothing was added for it
	}
	if uid == "" || strings.ContainsAny(uid, `/\*?[`) {
		return nil, fail(codeEnvironment, "CNI_ARGS %q names no Pod by %s: a runtime that does not tell can serve one node alone; see `minato cni config NODE`", c.args, argUID)
	}
	found, err := filepath.Glob(filepath.Join(c.net.Clusters, "*", recordsBelow, uid))
	if err != nil {
		return nil, fail(codeIO, "look for Pod %s: %v", uid, err)
	}
	for _, path := range found {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fail(codeIO, "look for Pod %s: %v", uid, err)
		}
		socket, rest, _ := strings.Cut(string(data), "\n")
		return []place{{socket, strings.TrimSpace(rest) == onNode}}, nil
	}
	if c.command == cmdDel {
		return nil, nil // of a cluster that is gone, and its network with it
	}
	return nil, fail(codeUnknown, "Pod %s is none of a cluster of Minato's on this machine (%s)", uid, c.net.Clusters)
}

// allNodes are all nodes of all clusters.
func (c *call) allNodes() ([]place, error) {
	sockets, err := filepath.Glob(filepath.Join(c.net.Clusters, "*", socketsBelow))
	if err != nil {
		return nil, fail(codeIO, "look for nodes: %v", err)
	}
	if len(sockets) == 0 {
		return nil, fail(codeUnavailable, "no cluster of Minato's is up on this machine (%s)", c.net.Clusters)
	}
	var out []place
	for _, s := range sockets {
		out = append(out, place{socket: s})
	}
	return out, nil
}

// argument is a value of CNI_ARGS, KEY=VALUE with semicolons between.
func argument(args, key string) string {
	for pair := range strings.SplitSeq(args, ";") {
		if k, v, _ := strings.Cut(pair, "="); k == key {
			return v
		}
	}
	return ""
}

// putOnNode has the runtime's name for the network that it has made lead to the
// node's, before anything runs there.
func (c *call) putOnNode(a *answer) (*result, error) {
	if err := (host.Netns{Name: "of the node", Path: a.Netns}).PutAt(c.netns); err != nil {
		return nil, fail(codeIO, "CNI_NETNS: %v", err)
	}
	out := &result{CNIVersion: c.net.CNIVersion, Interfaces: []device{{Name: podLink, Sandbox: c.netns}}}
	for _, addr := range a.IPs {
		out.IPs = append(out.IPs, ip{Address: fmt.Sprintf("%s/%d", addr, addr.BitLen()), Interface: 0})
	}
	return out, nil
}
