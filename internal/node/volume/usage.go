package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
)

// Usage is what each volume of the Pod takes of the node's disk, in bytes, by
// name: its emptyDirs and ConfigMaps, the ones that kubelet counts as ephemeral
// storage. What could not be measured in full is in the error, and counts with
// what was.
func (m *Manager) Usage(ctx context.Context, pod *v1.Pod) (map[string]int64, error) {
	used := map[string]int64{}
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap == nil && (v.EmptyDir == nil || v.EmptyDir.Medium != v1.StorageMediumDefault) {
			continue
		}
		n, err := host.DiskUsage(ctx, m.path(pod.UID, v))
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", v.Name, err))
		}
		used[v.Name] = n.Bytes
	}
	return used, errors.Join(errs...)
}

// Files are the files and directories, beside volumes, that the Pod's
// containers can write to: its hosts file and their termination messages.
func (m *Manager) Files(uid types.UID) []string {
	dir := m.PodDir(uid)
	return []string{filepath.Join(dir, "etc-hosts"), filepath.Join(dir, "containers")}
}
