package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/node/evict"
)

// claimsDir is below the node's directory, and has the directories of claims: what is
// in them is not the node's.
const claimsDir = "volumes"

// storagePatience bounds how long the node's files are measured. What has been counted
// by then is less than what there is.
const storagePatience = 30 * time.Second

// observeStorage adds what the node's disk has left: what the machine's has, and no
// more than what the node has not used of its limit.
func (a *Agent) observeStorage(ctx context.Context, out evict.Observations) error {
	if err := observeDisk(out, a.cfg.Dir, evict.NodeFsAvailable, evict.NodeFsInodesFree); err != nil || a.cfg.StorageLimit == 0 {
		return err
	}
	used, err := a.storageUsed(ctx)
	out[evict.NodeFsAvailable] = withinStorage(out[evict.NodeFsAvailable], a.cfg.StorageLimit, used)
	return err
}

// withinStorage is what is left of a file system for who may use limit bytes of it and
// has used some of these.
func withinStorage(fs evict.Observation, limit, used int64) evict.Observation {
	return evict.Observation{Available: min(fs.Available, max(0, limit-used)), Capacity: min(fs.Capacity, limit)}
}

// storageUsed measures what counts towards the node's limit, in bytes. What can't be
// measured is in the error.
func (a *Agent) storageUsed(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storagePatience)
	defer cancel()
	entries, err := os.ReadDir(a.cfg.Dir)
	errs := []error{err}
	var sum int64
	for _, e := range entries {
		if e.Name() == claimsDir || !e.IsDir() && !e.Type().IsRegular() {
			continue
		}
		u, err := host.DiskUsage(ctx, filepath.Join(a.cfg.Dir, e.Name()))
		errs, sum = append(errs, err), sum+u.Bytes
	}
	if a.cfg.LayersApart {
		stats, err := a.cfg.Runtime.ListContainerStats(ctx, &runtimeapi.ContainerStatsFilter{})
		for _, s := range stats {
			sum += int64(s.GetWritableLayer().GetUsedBytes().GetValue())
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return sum, fmt.Errorf("measure what the node takes of the disk: %w", err)
	}
	return sum, nil
}
