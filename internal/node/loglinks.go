package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/loglink"
	"minato/internal/node/spec"
)

// sweepPeriod is how often links to logs that are gone are looked for, the
// kubelet's.
const sweepPeriod = time.Minute

// newLogLinks are the links to logs in the node's own root directory. Without
// one, the machine's is left alone.
func newLogLinks(c *Config) *loglink.Links {
	root := c.MountNS.Root()
	if root == nil {
		return nil
	}
	return loglink.New(root)
}

// containerLister is the part of the CRI that links to logs need.
type containerLister interface {
	ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error)
}

// keepLogLinks makes the links that an agent did not make that was killed, or was
// of a version without them, and removes those that one has left.
func keepLogLinks(ctx context.Context, links *loglink.Links, r containerLister, log *slog.Logger) error {
	if links == nil {
		return nil
	}
	if err := linkAll(ctx, links, r); err != nil && ctx.Err() == nil {
		log.Warn("logs of containers are not linked", "error", err)
	}
	tick := time.NewTicker(sweepPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := links.Sweep(); err != nil {
			log.Warn("links to logs that are gone are not removed", "error", err)
		}
	}
}

func linkAll(ctx context.Context, links *loglink.Links, r containerLister) error {
	all, err := r.ListContainers(ctx, nil)
	if err != nil {
		return err
	}
	var logs []loglink.Log
	for _, c := range all {
		if c.GetState() == runtimeapi.ContainerState_CONTAINER_CREATED {
			continue // it has no log yet, and is linked when it starts
		}
		logs = append(logs, loglink.Log{
			Namespace: c.GetLabels()[spec.LabelPodNamespace], Pod: c.GetLabels()[spec.LabelPodName], UID: c.GetLabels()[spec.LabelPodUID],
			Container: c.GetMetadata().GetName(), ID: c.GetId(), Restarts: c.GetMetadata().GetAttempt(),
		})
	}
	return errors.Join(links.Add(logs...), links.Sweep())
}

// openLog opens a log file for reading. Pods can mount the directory of logs and
// leave links in it, which are followed within the node's directory alone: the
// machine's files are not shown to who may read a Pod's logs.
func (c *Config) openLog(path string) (*os.File, error) {
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name, err := filepath.Rel(c.Dir, path)
	if err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is not a regular file", path), err, f.Close())
	}
	return f, nil
}
