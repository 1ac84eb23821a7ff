package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"minato/internal/host"
)

// egress lets nodes and Pods out through the machine with its own address, in
// each family that the machine has a way out for.
func (l *lan) egress() error {
	out := false
	for _, f := range l.cfg.IPFamily.families() {
		uplink, ok, err := l.net.DefaultLink(f.is6)
		switch {
		case err != nil:
		case !f.is6:
			err = l.forwardIPv4(uplink.Name)
		case ok:
			err = l.forwardIPv6()
		}
		if err != nil {
			return err
		}
		out = out || ok
	}
	if !out {
		return nil
	}
	return l.masquerade().Ensure()
}

// forwardIPv4 switches forwarding on for the two links that need it, not for
// all; the uplink may be none.
func (l *lan) forwardIPv4(uplink string) error {
	const conf = "net/ipv4/conf/"
	if err := host.Sysctl(conf+l.paths.Bridge()+"/forwarding", "1"); err != nil || uplink == "" {
		return err
	}
	return l.sysctls().set(setting{conf + uplink + "/forwarding", "1"})
}

// forwardIPv6 switches forwarding on for the machine, as kernels before 6.17
// know no other way. That makes the machine a router, which by default takes
// no more advice from others and forgets the default route that it has from
// one. So the links that listen to routers are told to do so all the same.
func (l *lan) forwardIPv6() error {
	const conf, all = "net/ipv6/conf/", "net/ipv6/conf/all/forwarding"
	if was, err := host.ReadSysctl(all); err != nil || was == "1" {
		return err
	}
	links, err := os.ReadDir("/proc/sys/" + conf)
	if err != nil {
		return err
	}
	var listen, forward []setting
	for _, link := range links {
		if link.Name() == "all" {
			continue
		}
		if ra, err := host.ReadSysctl(conf + link.Name() + "/accept_ra"); err == nil && ra == "1" {
			listen = append(listen, setting{conf + link.Name() + "/accept_ra", "2"})
		}
		forward = append(forward, setting{conf + link.Name() + "/forwarding", byAnother})
	}
	// In this order nothing is forgotten, neither now nor, backwards, later.
	return l.sysctls().set(slices.Concat(listen, forward, []setting{{all, "1"}})...)
}

// sysctls remembers which settings of the machine were changed, and puts them
// back, also after the process that changed them was killed.
type sysctls struct{ file string }

func (l *lan) sysctls() sysctls { return sysctls{filepath.Join(l.paths.Run(), "sysctls.json")} }

// change is a setting as it was before.
type change struct {
	Path string `json:"path"`
	Was  string `json:"was"`
}

func (s sysctls) read() ([]change, error) {
	data, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var changes []change
	if err == nil {
		err = json.Unmarshal(data, &changes)
	}
	if err != nil {
		return nil, fmt.Errorf("read which settings of the machine were changed: %w", err)
	}
	return changes, nil
}

// setting is a value to be set.
type setting struct{ path, value string }

// byAnother is the value of a setting that another one is about to move.
const byAnother = ""

// set changes settings in their order, once it is written down how they were.
func (s sysctls) set(settings ...setting) error {
	changes, err := s.read()
	if err != nil {
		return err
	}
	known := len(changes)
	var todo []setting
	for _, w := range settings {
		was, err := host.ReadSysctl(w.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the link has just gone
		}
		if err != nil {
			return err
		}
		if was == w.value {
			continue
		}
		todo = append(todo, w)
		// What is noted already is how it was before us.
		if !slices.ContainsFunc(changes, func(c change) bool { return c.Path == w.path }) {
			changes = append(changes, change{w.path, was})
		}
	}
	if len(changes) > known {
		data, err := json.Marshal(changes)
		if err != nil {
			return err
		}
		if err := writeFile(s.file, data, 0o600); err != nil {
			return err
		}
	}
	for _, w := range todo {
		if w.value == byAnother {
			continue
		}
		if err := host.Sysctl(w.path, w.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// restore puts the last change back first: a switch for many comes before the
// ones that it moved. Settings of links that are gone are skipped.
func (s sysctls) restore() error {
	changes, err := s.read()
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range slices.Backward(changes) {
		now, err := host.ReadSysctl(c.Path)
		if err == nil && now != c.Was {
			err = host.Sysctl(c.Path, c.Was)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, os.RemoveAll(s.file))
	}
	return errors.Join(errs...)
}
