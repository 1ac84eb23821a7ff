package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
)

// collectPeriod is how often a Collector looks at the disk, the kubelet's.
const collectPeriod = 5 * time.Minute

// CollectorConfig is what a Collector needs.
type CollectorConfig struct {
	Store  *Store
	Policy Policy
	Clock  clock.WithTicker
	Logger *slog.Logger
}

// Collector removes images that no container uses, those first that were not
// used for longest. Images that a person has loaded stay: no registry may have
// them.
type Collector struct {
	cfg   CollectorConfig
	began time.Time
	busy  chan struct{} // of one place; who holds it may use what follows
	// used is when an image was seen in use last.
	used map[string]time.Time
}

// NewCollector returns a Collector that has looked at nothing yet.
func NewCollector(cfg CollectorConfig) *Collector {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Collector{cfg: cfg, began: cfg.Clock.Now(), busy: make(chan struct{}, 1), used: map[string]time.Time{}}
}

// Run removes images by the policy until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	tick := c.cfg.Clock.NewTicker(collectPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
		if err := c.collect(ctx); err != nil && ctx.Err() == nil {
			c.cfg.Logger.Warn("images that no container uses could not all be removed", "error", err)
		}
	}
}

// RemoveUnused removes every image that no container uses and that is not too
// new, whatever is left of the disk.
func (c *Collector) RemoveUnused(ctx context.Context) error {
	return c.locked(ctx, func(expired, others []*Image) error {
		_, err := c.remove(ctx, append(expired, others...), math.MaxInt64)
		return err
	})
}

// collect removes images that are too old, and enough others for the disk.
func (c *Collector) collect(ctx context.Context) error {
	return c.locked(ctx, func(expired, others []*Image) error {
		remove := func(images []*Image, enough int64) (int64, error) { return c.remove(ctx, images, enough) }
		return Clean(c.cfg.Policy, expired, others, func() (Disk, error) { return DiskOf(c.cfg.Store.Dir()) }, remove)
	})
}

// locked runs fn with the images that may go, one call at a time.
func (c *Collector) locked(ctx context.Context, fn func(expired, others []*Image) error) error {
	select {
	case c.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.busy }()
	images, err := c.cfg.Store.List()
	if err != nil {
		return err
	}
	pinned, err := c.cfg.Store.pinned()
	if err != nil {
		return err
	}
	now, known := c.cfg.Clock.Now(), map[string]bool{}
	var unused []Unused[*Image]
	for _, img := range images {
		known[img.ID] = true
		switch {
		case pinned[img.ID]:
			c.used[img.ID] = now
		case len(img.Loaded) == 0:
			unused = append(unused, Unused[*Image]{img, img.ID, img.AddedAt, c.used[img.ID]})
		}
	}
	for id := range c.used {
		if !known[id] {
			delete(c.used, id)
		}
	}
	return fn(Choose(c.cfg.Policy, unused, c.began, now))
}

// remove removes images until enough bytes are freed.
func (c *Collector) remove(ctx context.Context, images []*Image, enough int64) (freed int64, err error) {
	var errs []error
	for _, img := range images {
		if freed >= enough || ctx.Err() != nil {
			break
		}
		before, _, err := c.cfg.Store.Usage()
		if err == nil {
			err = c.cfg.Store.Remove(img.ID)
		}
		if errors.Is(err, ErrInUse) {
			continue // since a moment ago
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		after, _, err := c.cfg.Store.Usage()
		errs = append(errs, err)
		freed += before - after // without the layers that other images have
		c.cfg.Logger.Info("an image that no container uses is removed", "image", img.ID, "names", img.Names, "bytes", before-after)
	}
	return freed, errors.Join(errs...)
}

// pinned are the images that somebody uses.
func (s *Store) pinned() (map[string]bool, error) {
	out := map[string]bool{}
	owners, err := os.ReadDir(filepath.Join(s.dir, "pins"))
	if err != nil {
		return nil, fmt.Errorf("look which images are used: %w", err)
	}
	for _, owner := range owners {
		images, err := os.ReadDir(s.pinDir(owner.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the container is gone meanwhile
			return nil, fmt.Errorf("look which images are used: %w", err)
		}
		for _, img := range images {
			out[img.Name()] = true
		}
	}
	return out, nil
}

// DiskOf looks at the disk that dir is on.
func DiskOf(dir string) (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Disk{}, fmt.Errorf("look at the disk of the images, %s: %w", dir, err)
	}
	return Disk{dir, int64(st.Blocks) * st.Frsize, int64(st.Bavail) * st.Frsize}, nil
}
