package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// rotation bounds the logs of containers: size is that of the present file, in
// bytes, and kept how many files there are before it.
type rotation struct {
	size   int64
	kept   int
	period time.Duration
}

// logOwner is the part of the CRI that log rotation needs.
type logOwner interface {
	ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error)
	ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error)
	ReopenContainerLog(ctx context.Context, id string) error
}

// rotateLogs keeps log files from growing without bound.
func rotateLogs(ctx context.Context, how rotation, r logOwner, dir string, log *slog.Logger) error {
	tick := time.NewTicker(how.period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !how.anyLarge(dir) {
			continue
		}
		if err := how.rotateLarge(ctx, r); err != nil && ctx.Err() == nil {
			log.Warn("logs could not be rotated", "error", err)
		}
	}
}

// anyLarge looks at the files only, so that an idle node does not trouble its
// runtime.
func (how rotation) anyLarge(dir string) bool {
	found := errors.New("found")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".log" {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Size() > how.size {
			return found
		}
		return nil
	})
	return err == found
}

func (how rotation) rotateLarge(ctx context.Context, r logOwner) error {
	running, err := r.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range running {
		resp, err := r.ContainerStatus(ctx, c.Id, false)
		if err != nil {
			continue // it ended since
		}
		path := resp.GetStatus().GetLogPath()
		info, err := os.Stat(path)
		if err != nil || info.Size() <= how.size {
			continue
		}
		if err := how.rotate(path); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := r.ReopenContainerLog(ctx, c.Id); err != nil {
			// The process still writes to the file that was moved: move it back.
			errs = append(errs, fmt.Errorf("reopen %s: %w", path, err), os.Rename(path+".1", path))
		}
	}
	return errors.Join(errs...)
}

// rotate moves path to path.1, that to path.2, and so on.
func (how rotation) rotate(path string) error {
	for i := how.kept - 1; i >= 1; i-- {
		err := os.Rename(fmt.Sprintf("%s.%d", path, i), fmt.Sprintf("%s.%d", path, i+1))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(path, path+".1")
}
