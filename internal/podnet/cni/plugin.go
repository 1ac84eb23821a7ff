package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"

	"minato/internal/host"
	"minato/internal/podnet"
)

const (
	podLink = podnet.PodLink
	// maxConfig bounds a network configuration in bytes: one for GC lists every
	// container of a node.
	maxConfig = 4 << 20
	// patience bounds how long the server may take.
	patience = time.Minute
)

// Run is the plugin: it reads env and stdin, writes its answer to stdout, and
// returns the exit status.
func Run(env func(string) string, stdin io.Reader, stdout io.Writer) int {
	version := versions[len(versions)-1]
	answer, err := run(env, stdin, &version)
	status := 0
	if err != nil {
		status = 1
		answer = struct {
			CNIVersion string `json:"cniVersion"`
			*Error
		}{version, asError(err)}
	}
	if answer == nil {
		return status
	}
	if err := json.NewEncoder(stdout).Encode(answer); err != nil {
		return 1
	}
	return status
}

// run returns what is to be printed, nil for nothing, and the version to print an
// error in.
func run(env func(string) string, stdin io.Reader, version *string) (any, error) {
	data, err := io.ReadAll(io.LimitReader(stdin, maxConfig+1))
	if err != nil {
		return nil, fail(codeIO, "read the network configuration: %v", err)
	}
	if len(data) > maxConfig {
		return nil, fail(codeDecode, "the network configuration is larger than %d MiB", maxConfig>>20)
	}
	c, err := readCall(env, data)
	if c != nil && (c.command == cmdVersion && c.net.CNIVersion != "" || slices.Contains(versions[:], c.net.CNIVersion)) {
		*version = c.net.CNIVersion
	}
	if err != nil {
		return nil, err
	}
	if c.command == cmdVersion {
		return map[string]any{"cniVersion": *version, "supportedVersions": versions}, nil
	}
	return c.run()
}

// run has the servers do it.
func (c *call) run() (any, error) {
	places, err := c.places()
	if err != nil {
		return nil, err
	}
	for i, at := range places {
		a, err := c.ask(at)
		if c.command == cmdStatus && err != nil && i < len(places)-1 {
			continue // of a server that has ended: its cluster keeps no other one down
		}
		if err != nil {
			return nil, err
		}
		switch {
		case c.command == cmdAdd && at.onNode:
			return c.putOnNode(a)
		case c.command == cmdAdd:
			return c.result(a), nil
		case c.command == cmdCheck && !at.onNode:
			return nil, c.compare(a)
		case c.command == cmdStatus:
			return nil, nil
		}
	}
	return nil, nil
}

// ask has a server do it.
func (c *call) ask(at place) (*answer, error) {
	conn, err := net.DialTimeout("unix", at.socket, patience)
	if err != nil && c.net.Clusters != "" && c.command == cmdDel {
		// The next server looks for what is left of containers that are gone, and
		// until then nothing may keep them.
		return &answer{}, nil
	}
	if err != nil {
		code := codeTryAgain
		if c.command == cmdStatus {
			code = codeUnavailable
		}
		return nil, fail(code, "the server of the Pod network does not answer at %s: %v", at.socket, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, fail(codeIO, "%v", err)
	}
	socket, _ := conn.(*net.UnixConn)
	if err := c.send(socket, at); err != nil {
		return nil, err
	}
	a := &answer{}
	if err := json.NewDecoder(conn).Decode(a); err != nil {
		return nil, fail(codeIO, "read the answer of the Pod network's server at %s: %v", at.socket, err)
	}
	if a.Error != nil {
		return nil, a.Error
	}
	return a, nil
}

func (c *call) send(conn *net.UnixConn, at place) error {
	data, err := json.Marshal(request{
		Command: c.command, Network: c.net.Name, Attachment: attachment{c.containerID, c.ifName}, Valid: c.net.Valid, OnNode: at.onNode,
	})
	if err != nil {
		return fail(codeIO, "%v", err)
	}
	var ns *os.File
	if c.command == cmdAdd || c.command == cmdCheck {
		ns, err = os.Open(c.netns)
		if errors.Is(err, fs.ErrNotExist) {
			return fail(codeUnknown, "CNI_NETNS: %v", err)
		}
		if err != nil {
			return fail(codeIO, "CNI_NETNS: %v", err)
		}
		defer ns.Close()
	}
	err = host.SendWithFile(conn, data, ns)
	if err == nil {
		err = conn.CloseWrite()
	}
	if err != nil {
		return fail(codeIO, "send to the Pod network's server at %s: %v", at.socket, err)
	}
	return nil
}

// result puts an attachment into the specification's words.
func (c *call) result(a *answer) *result {
	out := &result{CNIVersion: c.net.CNIVersion, Interfaces: []device{
		{Name: a.Link, Mac: a.NodeMAC}, {Name: podLink, Mac: a.PodMAC, Sandbox: c.netns},
	}}
	if c.net.CNIVersion != versions[0] {
		for i := range out.Interfaces {
			out.Interfaces[i].MTU = a.MTU
		}
	}
	for i, addr := range a.IPs {
		gateway := a.Gateways[i]
		out.IPs = append(out.IPs, ip{Address: fmt.Sprintf("%s/%d", addr, addr.BitLen()), Gateway: gateway.String(), Interface: 1})
		out.Routes = append(out.Routes, route{Dst: host.Everywhere(addr).String(), GW: gateway.String()})
	}
	return out
}

// compare finds in the result of ADD what the network has now.
func (c *call) compare(a *answer) error {
	var was result
	if err := json.Unmarshal(c.net.PrevResult, &was); err != nil {
		return fail(codeDecode, "prevResult of the network configuration: %v", err)
	}
	for _, want := range c.result(a).IPs {
		if !slices.ContainsFunc(was.IPs, func(i ip) bool { return i.Address == want.Address }) {
			return fail(codeFailed, "container %s has the address %s, which is not in prevResult", c.containerID, want.Address)
		}
	}
	return nil
}
