package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"minato/internal/cluster/logbook"
)

// LogLine is a line of a cluster's log.
type LogLine = logbook.Line

// LogOptions say which lines of a cluster's log are read.
type LogOptions = logbook.Options

// ReadLog calls each with the lines of a cluster's log: that of the servers that
// `up` and their keeper have started. A part or a node that there is not is a
// SettingError that lists those that there are.
func ReadLog(ctx context.Context, name string, o LogOptions, each func(LogLine) error) error {
	if err := ValidateName(name); err != nil {
		return SettingError{err}
	}
	if err := RequireRoot(); err != nil {
		return err
	}
	c, err := LoadConfig(name)
	if err != nil {
		return err
	}
	p := Paths{Name: name}
	if err := checkLogged(p); err != nil {
		return err
	}
	if err := checkLogNames(ctx, c, o); err != nil {
		return err
	}
	err = logbook.Read(ctx, p.Log(), o, each)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cluster %q has no log: no server of it was started by `minato up`", name)
	}
	return err
}

// LogNames lists the parts and the nodes that ReadLog takes for a cluster.
func LogNames(ctx context.Context, name string) (parts, nodes []string, err error) {
	c, err := LoadConfig(name)
	if err != nil {
		return nil, nil, err
	}
	return logNames(ctx, c)
}

func logNames(ctx context.Context, c Config) (parts, nodes []string, err error) {
	parts, nodes, err = logbook.Names(ctx, Paths{Name: c.Name}.Log())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	add := func(states []PartStatus) {
		for _, s := range states {
			parts = append(parts, s.Name)
		}
	}
	if s, err := readStatus(ctx, c.Name); err == nil { // a server that doesn't answer has its lines all the same
		add(s.Parts)
		for _, n := range s.Nodes {
			add(n.Parts)
		}
	}
	for _, n := range c.NodeSpecs() {
		nodes = append(nodes, n.Name)
		// Each node is a part of the server.
		parts = slices.DeleteFunc(parts, func(part string) bool { return part == n.Name })
	}
	slices.Sort(parts)
	slices.SortFunc(nodes, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b) // node-10 comes after node-9
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(parts), slices.Compact(nodes), nil
}

func checkLogNames(ctx context.Context, c Config, o LogOptions) error {
	if o.Part == "" && o.Node == "" {
		return nil
	}
	parts, nodes, err := logNames(ctx, c)
	if err != nil {
		return err
	}
	if o.Node != "" && !slices.Contains(nodes, o.Node) {
		return SettingError{fmt.Errorf("--node %s: there is no such node; the nodes are %s", o.Node, strings.Join(nodes, ", "))}
	}
	if o.Part != "" && !slices.ContainsFunc(parts, func(name string) bool { return logbook.Belongs(name, o.Part) }) {
		return SettingError{fmt.Errorf("there is no part %q; the parts are %s", o.Part, strings.Join(parts, ", "))}
	}
	return nil
}

// checkLogged returns an error if the cluster's server runs and writes its log
// elsewhere, as one does that a service manager has started.
func checkLogged(p Paths) error {
	pid, err := serverPID(p)
	if err != nil || pid == 0 {
		return err
	}
	output, err := os.Stat(filepath.Join("/proc", fmt.Sprint(pid), "fd/2"))
	if err != nil {
		return nil // it has just ended
	}
	if log, err := os.Stat(p.Log()); err == nil && os.SameFile(output, log) {
		return nil
	}
	return fmt.Errorf("the server of cluster %q, process %d, was not started by `minato up`: its log is where the one who started it has it, such as in journalctl", p.Name, pid)
}

// rotateEvery is how often the server looks at the length of its log.
const rotateEvery = 10 * time.Second

// rotateLog keeps the log of a server that `up` has started within bounds.
func (s *Server) rotateLog(ctx context.Context) error {
	if !s.kept {
		return nil // the log is somebody else's
	}
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		if _, err := logbook.Rotate(s.paths.Log(), logbook.Limit); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
