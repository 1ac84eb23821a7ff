package node

import (
	"context"
	"os"

	"k8s.io/apimachinery/pkg/labels"

	"minato/internal/host"
	"minato/internal/node/volume"
)

// hostMounter is the machine's own mount table. What is mounted from a file that
// was opened on the node is mounted there, and seen here as well, since the
// agent's directories are both's.
type hostMounter struct {
	node  *host.MountNS
	netns host.Netns // from which servers are reached
}

func (hostMounter) MountTmpfs(path, options string) error { return host.MountTmpfs(path, options) }
func (hostMounter) MountHugePages(path string, size, limit int64, options string) error {
	return host.MountHugePages(path, size, limit, options)
}
func (m hostMounter) MountNFS(ctx context.Context, path string, export host.NFS) error {
	return m.netns.MountNFS(ctx, path, export)
}
func (m hostMounter) BindMount(source, target string, readOnly bool) error {
	return m.node.BindMount(source, target, readOnly)
}
func (m hostMounter) BindWith(source *os.File, target string, options []string, readOnly bool) error {
	return m.node.Do(func() error { return host.BindWith(source, target, options, readOnly) })
}
func (hostMounter) OpenDevice(place *os.File) (volume.Device, error) {
	return host.OpenBlockDevice(place)
}
func (hostMounter) Unmount(path string) error                { return host.Unmount(path) }
func (hostMounter) UnmountAllUnder(dir string) error         { return host.UnmountAllUnder(dir) }
func (hostMounter) ClearTree(dir string) error               { return host.ClearTree(dir) }
func (hostMounter) MountsUnder(dir string) ([]string, error) { return host.MountsUnder(dir) }
func (hostMounter) ShareMounts(dir string) error             { return host.ShareMounts(dir) }

func everything() labels.Selector { return labels.Everything() }
