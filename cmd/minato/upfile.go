package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"minato/internal/cluster"
	"minato/internal/node/settings"
)

// clusterFile is a file of `up --config`.
type clusterFile struct {
	path string
	cluster.File
}

// readClusterFile reads and checks the file.
func readClusterFile(path string) (*clusterFile, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := cluster.ParseFile(text)
	if err != nil {
		return nil, usageError{fmt.Errorf("--config %s: %w", path, err)}
	}
	return &clusterFile{path, f}, nil
}

// readKubeletFile reads a kubelet's configuration; without a path there is none.
func readKubeletFile(path string) (*settings.Kubelet, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := settings.ParseFile(text)
	if err != nil {
		return nil, usageError{fmt.Errorf("--kubelet-config %s: %w", path, err)}
	}
	return k, nil
}

// apply sets in c what the file says; nil says nothing.
func (f *clusterFile) apply(c cluster.Config, exists bool) (cluster.Config, error) {
	if f == nil {
		return c, nil
	}
	c, err := f.Apply(c, f.dir(), exists)
	if err != nil {
		return c, usageError{fmt.Errorf("--config %s: %w", f.path, err)}
	}
	return c, nil
}

func (f *clusterFile) dir() string {
	dir, err := filepath.Abs(filepath.Dir(f.path))
	if err != nil {
		return filepath.Dir(f.path)
	}
	return dir
}

// check looks whether the files are there that finish needs, before anything is
// made, and whether they can be loaded into a cluster with these settings.
func (f *clusterFile) check(c cluster.Config) error {
	if f == nil {
		return nil
	}
	images, manifests := f.Paths(f.dir())
	if len(images) > 0 {
		if err := c.OwnImages(); err != nil {
			return usageError{fmt.Errorf("--config %s: images: %w", f.path, err)}
		}
	}
	for field, paths := range map[string][]string{"images": images, "manifests": manifests} {
		for i, p := range paths {
			if _, err := os.Stat(p); err != nil {
				return usageError{fmt.Errorf("--config %s: %s[%d]: %w", f.path, field, i, err)}
			}
		}
	}
	return nil
}

// finish loads images and applies manifests, with the kubectl that is built in.
func (f *clusterFile) finish(ctx context.Context, out io.Writer, name string) error {
	if f == nil {
		return nil
	}
	images, manifests := f.Paths(f.dir())
	for i, file := range images {
		loaded, err := cluster.LoadImages(ctx, name, file, nil, imageProgress(os.Stderr))
		if err != nil {
			return fmt.Errorf("--config %s: images[%d]: %w", f.path, i, err)
		}
		printLoaded(out, "Loaded", loaded)
	}
	if len(images) > 0 {
		tellNodesWithout(os.Stderr, name)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i, path := range manifests {
		cmd := exec.CommandContext(ctx, self, "kubectl", "--name", name, "apply", "-f", path)
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("--config %s: manifests[%d]: apply %s: %w; the cluster is up, and `up` with the same file tries again", f.path, i, path, err)
		}
	}
	return nil
}
