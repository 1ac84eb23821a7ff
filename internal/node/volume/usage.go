package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
)

// Usage is what each volume of the Pod takes of the node's disk, by
// name: its emptyDirs and ConfigMaps, the ones that kubelet counts as ephemeral
// storage. What could not be measured in full is in the error, and counts with
// what was.
func (m *Manager) Usage(ctx context.Context, pod *v1.Pod) (map[string]host.Usage, error) {
	used := map[string]host.Usage{}
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !counts(v) {
			continue
		}
		n, err := host.DiskUsage(ctx, m.path(pod.UID, v))
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", v.Name, err))
		}
		used[v.Name] = n
	}
	return used, errors.Join(errs...)
}

// counts tells whether a volume is one of those that count.
func counts(v *v1.Volume) bool {
	return v.ConfigMap != nil || v.EmptyDir != nil && v.EmptyDir.Medium == v1.StorageMediumDefault
}

// Files are the files and directories, beside volumes, that the Pod's
// containers can write to: its hosts file and their termination messages.
func (m *Manager) Files(uid types.UID) []string {
	dir := m.PodDir(uid)
	return []string{filepath.Join(dir, "etc-hosts"), filepath.Join(dir, "containers")}
}

// Stats is what one volume takes, and the file system that it is on has.
type Stats struct {
	Name string
	// Claim is the PersistentVolumeClaim that the volume is, if it is one.
	Claim string
	// OnDisk says that the volume counts as ephemeral storage, as those of Usage do.
	OnDisk                         bool
	Used, Capacity, Available      uint64 // bytes
	InodesUsed, Inodes, InodesFree uint64
}

// Stats measures the volumes of the Pod, as the kubelet does: those that the node
// makes by what is in them, and claims by their file systems. Volumes that belong
// to the node, such as a hostPath, those of a server, which may not answer, and those
// that are not there yet are left out.
func (m *Manager) Stats(ctx context.Context, pod *v1.Pod) []Stats {
	var out []Stats
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		s := Stats{Name: v.Name, Claim: claim(pod, v), OnDisk: counts(v)}
		if v.HostPath != nil || v.NFS != nil {
			continue
		}
		if c, ok := m.claimed(pod.UID, v.Name); ok && c.driver {
			if m.driverStats(ctx, pod, c, &s) {
				out = append(out, s)
			}
			continue
		} else if c.device || c.remote {
			continue
		}
		path, err := m.Path(pod, v.Name)
		if err != nil || !s.filesystem(path) {
			continue
		}
		if s.Claim == "" {
			n, _ := host.DiskUsage(ctx, path) // what can't be read is on its way
			s.Used, s.InodesUsed = uint64(n.Bytes), uint64(n.Inodes)
		}
		out = append(out, s)
	}
	return out
}

// ClaimStats are those of Stats that are claims, which cost next to nothing: what CSI
// drivers tell is good for a while.
func (m *Manager) ClaimStats(pod *v1.Pod) []Stats {
	var out []Stats
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		s := Stats{Name: v.Name, Claim: claim(pod, v)}
		if s.Claim == "" {
			continue
		}
		c, _ := m.claimed(pod.UID, v.Name)
		if c.driver {
			if m.driverStats(context.Background(), pod, c, &s) {
				out = append(out, s)
			}
			continue
		}
		if path, err := m.Path(pod, v.Name); err == nil && !c.device && !c.remote && s.filesystem(path) {
			out = append(out, s)
		}
	}
	return out
}

// claim is the name of the claim that a volume is, or empty.
func claim(pod *v1.Pod, v *v1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// filesystem fills in the figures of the file system.
func (s *Stats) filesystem(path string) bool {
	var fs syscall.Statfs_t
	if syscall.Statfs(path, &fs) != nil {
		return false
	}
	size := uint64(fs.Bsize)
	s.Capacity, s.Available, s.Used = fs.Blocks*size, fs.Bavail*size, (fs.Blocks-fs.Bfree)*size
	s.Inodes, s.InodesFree, s.InodesUsed = fs.Files, fs.Ffree, fs.Files-fs.Ffree
	return true
}
