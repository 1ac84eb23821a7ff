package remote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// showMounts gives each of a container's mounts a path at which the machine shows
// what the node has at the path that was asked for.
func (r *Runtime) showMounts(uid string, config *runtimeapi.ContainerConfig) error {
	if err := r.hideMounts(uid, config.GetMetadata()); err != nil { // of a try that failed
		return err
	}
	for i, m := range config.GetMounts() {
		if m.GetHostPath() == "" {
			continue
		}
		path, err := r.showMount(uid, config.GetMetadata(), i, m)
		if err != nil {
			return errors.Join(fmt.Errorf("mount %s: %w", m.GetContainerPath(), err), r.hideMounts(uid, config.GetMetadata()))
		}
		m.HostPath = path
	}
	return nil
}

// showMount mounts what the node has at a path for the runtime, which then follows
// no path that a container can change. Links are the node's to resolve, neither the
// container's nor the machine's.
func (r *Runtime) showMount(uid string, of *runtimeapi.ContainerMetadata, i int, m *runtimeapi.Mount) (string, error) {
	if r.cfg.MountNS == nil {
		return m.GetHostPath(), nil
	}
	path, err := r.cfg.MountNS.Root().EvalSymlinks(m.GetHostPath())
	if err != nil {
		return "", err
	}
	bind := host.MappedBind{Source: path, Target: filepath.Join(r.mountsDir(uid), mountName(of)+fmt.Sprint(i))}
	switch m.GetPropagation() {
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL: // which only privileged containers may have
		if same, ok := r.onMachine(path); ok {
			return same, nil
		}
		return "", fmt.Errorf("mount propagation Bidirectional of %s: what a container of the runtime at %s mounts there can't appear on the node; it can below %s",
			path, r.cfg.Endpoint, r.shared())
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		p, err := r.cfg.MountNS.PropagationOf(path)
		if err != nil {
			return "", err
		}
		if !p.Shared && !p.Slave {
			return "", fmt.Errorf("mount propagation is asked for, and the mount at %s that %s is on does not propagate: share it on the node with `mount --make-rshared %s`", p.Point, path, p.Point)
		}
		bind.Slave = true
	}
	if err := os.MkdirAll(r.mountsDir(uid), 0o700); err != nil {
		return "", err
	}
	return bind.Target, r.cfg.MountNS.BindMapped(bind)
}

// onMachine is a path of the node's as the machine has it, if the two share it
// with all mounts.
func (r *Runtime) onMachine(path string) (string, bool) {
	for _, b := range r.cfg.Binds {
		if rest, ok := below(path, b.Target); ok {
			return filepath.Join(b.Source, rest), true
		}
	}
	for _, dir := range r.cfg.Kept {
		if _, ok := below(path, dir); ok {
			return path, true
		}
	}
	return "", false
}

// shared lists the paths on the node for a message.
func (r *Runtime) shared() string {
	var out []string
	for _, b := range r.cfg.Binds {
		out = append(out, b.Target)
	}
	return strings.Join(out, ", ")
}

// below tells whether path is dir or below it, and what of it comes after dir.
func below(path, dir string) (rest string, ok bool) {
	if path == dir {
		return "", true
	}
	return strings.CutPrefix(path, dir+"/")
}

func (r *Runtime) mountsDir(uid string) string { return filepath.Join(r.cfg.RunDir, "shown", uid) }

// mountName begins the names of what was mounted for a container. Names of containers
// have no dots, so none of them begins so with the name of another one.
func mountName(of *runtimeapi.ContainerMetadata) string {
	return fmt.Sprintf("%s.%d.", of.GetName(), of.GetAttempt())
}

// hideMounts unmounts what was mounted for a container.
func (r *Runtime) hideMounts(uid string, of *runtimeapi.ContainerMetadata) error {
	entries, err := os.ReadDir(r.mountsDir(uid))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), mountName(of)) {
			err = errors.Join(err, hide(filepath.Join(r.mountsDir(uid), e.Name())))
		}
	}
	return err
}

// hide unmounts what is mounted at one of these places, with all that is mounted below
// it, and removes the place. What is still mounted keeps it.
func hide(place string) error {
	if err := host.Unmount(place); err != nil {
		return err
	}
	return os.Remove(place)
}

// hideAllMounts unmounts what was mounted for a Pod.
func (r *Runtime) hideAllMounts(uid string) error {
	return unmountTree(r.mountsDir(uid))
}

// unmountTree unmounts what is mounted at and below a path, and removes what is
// left there: places of mounts.
func unmountTree(path string) error {
	if err := host.UnmountAllUnder(path); err != nil {
		return err
	}
	return host.RemoveTree(path)
}
