package oci

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// writableLayer adds up what the container has written to its layer.
func (c *container) writableLayer(ctx context.Context) *runtimeapi.FilesystemUsage {
	upper := c.upper()
	// A part that can't be read is what the container moves about just now, or
	// goes with the container: what was counted is what there is to say.
	usage, _ := host.DiskUsage(ctx, upper)
	return &runtimeapi.FilesystemUsage{
		Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: upper},
		UsedBytes: value(uint64(usage.Bytes)), InodesUsed: value(uint64(usage.Inodes)),
	}
}
