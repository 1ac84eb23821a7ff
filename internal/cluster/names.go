package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
)

// Names lists the clusters of this machine, up or down, in order.
func Names() ([]string, error) {
	entries, err := os.ReadDir(dataRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the clusters: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Lstat(Paths{Name: e.Name()}.Config()); err == nil && ValidateName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// others are the configurations of the machine's clusters beside that one, as far
// as they can be read, by name.
func others(than string) []Config {
	names, _ := Names()
	var out []Config
	for _, name := range names {
		if c, err := LoadConfig(name); err == nil && name != than {
			out = append(out, c)
		}
	}
	return out
}

// leavesTraces tells whether anything on the machine is of a cluster of that
// name, also of one that a killed start or an interrupted `delete` has left
// half-made.
func leavesTraces(c Config) (bool, error) {
	p := Paths{Name: c.Name}
	for _, path := range []string{p.Data(), p.Run(), p.Cgroup().V2(), filepath.Join("/sys/class/net", p.Bridge())} {
		if _, err := os.Lstat(path); err == nil {
			return true, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	namespaces, err := nodeNamespaces(c.Name)
	if err != nil || len(namespaces) > 0 {
		return len(namespaces) > 0, err
	}
	config, err := clientcmd.NewDefaultPathOptions().GetStartingConfig()
	if err != nil {
		return false, nil // a kubeconfig that can't be read has nothing that could be removed
	}
	return config.Contexts[c.ContextName()] != nil, nil
}
