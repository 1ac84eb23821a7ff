package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"minato/internal/host"
)

// stopTimeout bounds how long ending a cluster may take beyond the grace of Pods.
const stopTimeout = 60 * time.Second

// DefaultGrace is the longest grace period that a Pod gets when its cluster
// goes down.
const DefaultGrace = 30 * time.Second

// Down ends the server, the nodes and everything that runs on them; the data
// stays, so that Up brings the same cluster back. It is no error if the cluster
// is down already, and what a killed server left half-made is cleared as well.
// Pods are ended as when a machine is shut down: preStop hooks run, and each
// Pod gets its own grace period, but grace at most. kept says in words what is
// kept of the cluster.
func Down(ctx context.Context, name string, grace time.Duration) (kept string, err error) {
	if err := ValidateName(name); err != nil {
		return "", err
	}
	if err := RequireRoot(); err != nil {
		return "", err
	}
	c, err := LoadConfig(name)
	if err != nil {
		return "", err
	}
	kept = "its data is kept"
	if c.Ephemeral {
		kept = "its objects were ephemeral and are gone; its certificates and images are kept"
	}
	return kept, stop(ctx, name, grace, c.Ephemeral)
}

// Delete ends the cluster as Down does, but kills its Pods without grace, and
// removes the data and the kubeconfig context as well. It returns ErrNoCluster
// where nothing on the machine is of a cluster of that name. left says in words what may
// be left elsewhere, of a cluster whose settings are lost.
func Delete(ctx context.Context, name string) (left string, err error) {
	if err := ValidateName(name); err != nil {
		return "", err
	}
	if err := RequireRoot(); err != nil {
		return "", err
	}
	c, err := LoadConfig(name)
	if err != nil {
		// There is no configuration, or it can't be read; links, mounts and
		// processes of the cluster may be left all the same.
		missing := errors.Is(err, ErrNoCluster)
		c = unknownConfig(name)
		switch found, err := leavesTraces(c); {
		case err != nil:
			return "", err
		case missing && !found:
			return "", nothingDeleted(name)
		}
		left = leftInRuntimes(name)
	}
	if err := stop(ctx, name, 0, true); err != nil {
		return left, err
	}
	return left, errors.Join(removeKubeconfig(c), removeData(Paths{Name: name}.Data()), removeEmpty(dataRoot))
}

// removeData removes the cluster's directory. Where it is a disk of its own, that
// is left, empty.
func removeData(dir string) error {
	points, err := host.MountsUnder(dir)
	if err != nil || !slices.Equal(points, []string{dir}) {
		return errors.Join(err, host.RemoveTree(dir))
	}
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, host.RemoveTree(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

// unmountBelow unmounts what is mounted below the cluster's directory, but not the
// directory, which may be a disk of its own.
func unmountBelow(dir string) error {
	points, err := host.MountsUnder(dir)
	if err != nil {
		return err
	}
	slices.Reverse(points)
	var errs []error
	for _, point := range points {
		if point != dir {
			errs = append(errs, host.Unmount(point))
		}
	}
	return errors.Join(errs...)
}

// unknownConfig is the configuration of a cluster of which only the name is known:
// the default ranges, without those that another cluster of this machine uses.
func unknownConfig(name string) Config {
	c := Config{Name: name, IPFamily: DualStack}.WithDefaultRanges()
	for _, other := range others(name) {
		for p := range purposes {
			r := c.ranges(p)
			*r = slices.DeleteFunc(*r, func(mine netip.Prefix) bool { return slices.Contains(*other.ranges(p), mine) })
		}
	}
	return c
}

// stop ends everything of the cluster that runs. Pods get their grace periods,
// but grace at most; with a grace of 0 they are killed at once. With remove, a
// container runtime of the machine keeps nothing of them.
func stop(ctx context.Context, name string, grace time.Duration, remove bool) error {
	p := Paths{Name: name}
	if err := endServer(ctx, p, grace); err != nil {
		return err
	}
	return errors.Join(clearRuntimes(ctx, name, remove), clean(ctx, p))
}

// endServer ends the server process: by a request on its socket, so that Pods
// end with their grace first, or else by a signal.
func endServer(ctx context.Context, p Paths, grace time.Duration) error {
	// The keeper goes first: it would start the server again.
	if err := p.serverKeeper().End(); err != nil && !errors.Is(err, host.ErrNoCgroup2) {
		return err
	}
	pid, err := serverPID(p)
	if err != nil || pid == 0 {
		return err
	}
	if grace > 0 {
		ctx, cancel := context.WithTimeout(ctx, grace+stopTimeout/2)
		defer cancel()
		if err := requestStop(ctx, p, grace); err == nil && waitStopped(ctx, p) == nil {
			return nil
		}
	}
	if grace == 0 {
		// Routers with graceful restart keep the routes of a process that is
		// killed without a word. A server that doesn't answer is ended all the same.
		ctx, cancel := context.WithTimeout(ctx, withdrawTimeout+time.Second)
		_ = requestWithdrawal(ctx, p)
		cancel()
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the server, process %d: %w", pid, err)
		}
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		err = waitStopped(wait, p)
		cancel()
		if err == nil {
			return nil
		}
	}
	return err
}

// clean removes everything of the cluster that is not data, in such an order
// that nothing is in use any more when it is removed.
func clean(ctx context.Context, p Paths) error {
	var errs []error
	if err := p.Cgroup().Kill(ctx); err != nil && !errors.Is(err, host.ErrNoCgroup2) {
		errs = append(errs, err)
	}
	// This removes the pins of the eBPF programs and so detaches them, before
	// the links that they are attached to are deleted.
	errs = append(errs, host.UnmountAllUnder(p.Run()), unmountBelow(p.Data()))
	cfg, err := LoadConfig(p.Name)
	if err != nil {
		cfg = unknownConfig(p.Name)
	}
	if cfg.Ephemeral { // so are the claims, and nobody knows their data any more
		dirs, _ := filepath.Glob(filepath.Join(p.NodeData("*"), "volumes")) // the pattern is a good one
		for _, dir := range dirs {
			errs = append(errs, host.RemoveTree(dir))
		}
	}
	if l, err := openLAN(cfg); err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, l.down())
		l.close()
	}
	if err := p.Cgroup().Delete(); err != nil && !errors.Is(err, host.ErrNoCgroup2) {
		errs = append(errs, err)
	} else {
		errs = append(errs, removeEmptyCgroupRoot())
	}
	errs = append(errs, host.RemoveTree(p.Run()), removeEmpty(runRoot))
	return errors.Join(errs...)
}

// removeEmptyCgroupRoot removes the directory above the clusters' cgroups,
// unless another cluster has one.
func removeEmptyCgroupRoot() error {
	root := host.Cgroup{Path: "minato"}
	entries, err := os.ReadDir(root.V2())
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			return nil
		}
	}
	return root.Delete()
}

// removeEmpty removes dir unless something else is in it.
func removeEmpty(dir string) error {
	err := os.Remove(dir)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	return err
}
