package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minato/internal/host"
)

// Mount is a directory of the machine that all nodes of a cluster have.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

func (m Mount) String() string {
	s := m.Source
	if m.Target != m.Source {
		s += ":" + m.Target
	}
	if m.ReadOnly {
		s += ":ro"
	}
	return s
}

// Mounts is the value of a flag that is given once for each mount, as
// SRC[:DST][:ro].
type Mounts []Mount

// Set implements pflag.Value.
func (m *Mounts) Set(text string) error {
	parts := strings.Split(text, ":")
	mount := Mount{}
	if n := len(parts); n > 1 && parts[n-1] == "ro" {
		mount.ReadOnly, parts = true, parts[:n-1]
	}
	switch len(parts) {
	case 1:
		mount.Source, mount.Target = parts[0], parts[0]
	case 2:
		mount.Source, mount.Target = parts[0], parts[1]
	default:
		return fmt.Errorf("%q: give SRC, SRC:DST, SRC:ro or SRC:DST:ro", text)
	}
	for _, path := range []*string{&mount.Source, &mount.Target} {
		if !filepath.IsAbs(*path) {
			return fmt.Errorf("%q: %q is not an absolute path", text, *path)
		}
		*path = filepath.Clean(*path)
	}
	*m = append(*m, mount)
	return nil
}

// String implements pflag.Value.
func (m *Mounts) String() string {
	var all []string
	for _, mount := range *m {
		all = append(all, mount.String())
	}
	return strings.Join(all, " ")
}

// Type implements pflag.Value.
func (m *Mounts) Type() string { return "SRC[:DST][:ro]" }

// nodesOwn are directories that a node needs as its own, or that are the
// kernel's.
var nodesOwn = []string{"/dev", "/proc", "/sys", "/etc/kubernetes", "/etc/cni/net.d", "/var/lib/kubelet/pods", "/var/lib/kubelet/seccomp", "/var/log/pods", "/var/log/containers", dataRoot, runRoot}

func (c Config) validateMounts() error {
	for i, m := range c.Mounts {
		if !filepath.IsAbs(m.Source) || !filepath.IsAbs(m.Target) {
			return fmt.Errorf("--mount %s: both paths must be absolute", m)
		}
		for _, own := range nodesOwn {
			if within(m.Target, own) || within(own, m.Target) {
				return fmt.Errorf("--mount %s: %s of a node is its own: mount it at another place with --mount %s:DST", m, own, m.Source)
			}
		}
		for _, o := range c.Mounts[:i] {
			if within(m.Target, o.Target) || within(o.Target, m.Target) {
				return fmt.Errorf("--mount %s and --mount %s are at the same place of a node, or one in the other: mount one of them elsewhere", o, m)
			}
		}
	}
	return nil
}

// within tells whether path is dir or below it; both are clean.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// checkMounts tells which directories nodes can't be given.
func checkMounts(mounts Mounts) error {
	var errs []error
	for _, m := range mounts {
		if err := checkMount(m); err != nil {
			errs = append(errs, fmt.Errorf("--mount %s: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

func checkMount(m Mount) error {
	info, err := os.Stat(m.Source)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no %s on this machine: make the directory first", m.Source)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: mount the one that it is in", m.Source)
	}
	for _, root := range []string{dataRoot, runRoot} {
		shows, err := host.Shows(m.Source, root)
		if err != nil {
			return err
		}
		if shows {
			return fmt.Errorf("it would show the clusters' own files in %s, with their keys: mount a directory without them", root)
		}
	}
	return nil
}

// sameMounts tells whether nodes get the same directories from both.
func sameMounts(a, b Mounts) bool { return slices.Equal(a, b) }
