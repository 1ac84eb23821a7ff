package oci

import (
	"context"
	"errors"
	"fmt"
	"os"

	"minato/internal/host"
)

// Delete removes everything that a node's runtime has made, whatever state it
// is in and also where no process runs it any more: processes, mounts,
// namespaces, cgroups and both directories. The pod network is told nothing.
// Twice is fine.
func Delete(ctx context.Context, cfg Config) error {
	var errs []error
	// conmons go with their containers, so that none writes an exit file into
	// a directory that is being removed.
	for _, step := range []func() error{
		func() error { return cfg.Cgroup.Kill(ctx) },
		func() error { return host.UnmountAllUnder(cfg.RunDir) },
		func() error { return unpinAll(cfg) },
		func() error { return host.RemoveTree(cfg.RunDir) },
		func() error { return host.RemoveTree(cfg.Dir) },
		func() error { return cfg.Cgroup.Delete() },
	} {
		errs = append(errs, step())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete containers of node %s: %w", cfg.NodeName, err)
	}
	return nil
}

func unpinAll(cfg Config) error {
	if cfg.Store == nil {
		return nil
	}
	return eachState(cfg.Dir, "containers", func(_ *os.File, _, id string) error { return cfg.Store.Unpin(id) })
}

// Purge stops and removes every sandbox, telling the pod network, and then
// what is left of the node.
func (r *Runtime) Purge(ctx context.Context) error {
	r.mu.Lock()
	ids := keysOf(r.sandboxes)
	r.mu.Unlock()
	for _, id := range ids {
		if err := r.RemovePodSandbox(ctx, id); err != nil {
			r.log.Warn("a Pod sandbox could not be stopped and removed; its processes, mounts and files are deleted with the node's", "sandbox", id, "error", err)
		}
	}
	err := Delete(ctx, r.cfg)
	if err == nil {
		r.mu.Lock()
		clear(r.sandboxes)
		clear(r.containers)
		r.mu.Unlock()
	}
	return err
}

func keysOf(m map[string]*sandbox) []string {
	out := make([]string, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	return out
}
