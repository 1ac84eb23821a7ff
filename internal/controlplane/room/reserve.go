package room

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"k8s.io/utils/clock"
)

const (
	// reserved is what is given up when the disk is full: room for etcd's next file.
	reserved = 64 << 20
	// full is what is left, in bytes, when it is given up.
	full = 16 << 20
	// reservePeriod is how often the disk is looked at.
	reservePeriod = 5 * time.Second
)

// ReserveConfig is what a Reserve needs.
type ReserveConfig struct {
	// Path is the file that takes the room, beside the store.
	Path   string
	Clock  clock.WithTicker
	Logger *slog.Logger
}

// Reserve holds room on a disk and gives it up when somebody has filled it.
type Reserve struct {
	cfg  ReserveConfig
	left func(path string) (available, capacity int64, err error)
}

// NewReserve returns a Reserve that holds nothing yet.
func NewReserve(cfg ReserveConfig) *Reserve {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Reserve{cfg: cfg, left: left}
}

// Run holds the room until ctx ends, and leaves the file for the next run.
func (r *Reserve) Run(ctx context.Context, dir string) {
	tick := r.cfg.Clock.NewTicker(reservePeriod)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
		}
		text := ""
		if err := r.look(dir); err != nil {
			text = err.Error()
		}
		if text != "" && text != told {
			r.cfg.Logger.Warn("room on the disk of the store can't be held", "error", text)
		}
		told = text
	}
}

// Free gives the room up where the disk is full. The store needs room to start, so
// that comes before: who filled the disk may have ended the run before, in less time
// than a look takes.
func (r *Reserve) Free(dir string) error {
	info, err := os.Lstat(r.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	available, _, err := r.left(dir)
	if err != nil || available >= full || !info.Mode().IsRegular() {
		return err
	}
	return r.giveUp(available)
}

func (r *Reserve) giveUp(available int64) error {
	r.cfg.Logger.Warn("the disk of the store is full; the room that was held for it is given up", "available", available)
	return os.Remove(r.cfg.Path)
}

// look gives the room up, or takes it again where there is enough.
func (r *Reserve) look(dir string) error {
	available, capacity, err := r.left(dir)
	if err != nil {
		return err
	}
	info, err := os.Lstat(r.cfg.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	held := err == nil && info.Size() >= reserved
	switch {
	case held && available < full:
		return r.giveUp(available)
	case !held && available > 2*reserved+min(least, capacity/leastShare):
		return r.take()
	}
	return nil
}

func (r *Reserve) take() error {
	f, err := os.OpenFile(r.cfg.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, reserved)
	if err = errors.Join(err, f.Close()); err != nil {
		// Not every file system can; what it has taken of the room goes again.
		return errors.Join(fmt.Errorf("reserve room in %s: %w", r.cfg.Path, err), os.Remove(r.cfg.Path))
	}
	return nil
}
