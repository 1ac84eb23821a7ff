package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
)

// collectPeriod is how often a Collector looks at the disk, the kubelet's.
const collectPeriod = 5 * time.Minute

// Policy says which images that no container uses go, and when. It has the
// kubelet's settings.
type Policy struct {
	// Where High percent of the disk or more are used, images go until Low percent
	// are.
	High, Low int
	// MinAge is how long an image stays in any case, MaxAge how long without being
	// used; 0 is for ever.
	MinAge, MaxAge time.Duration
}

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
	return c.locked(ctx, func(now time.Time, unused []*Image) error {
		_, err := c.remove(ctx, chosen(unused, c.used, c.cfg.Policy.MinAge, now), 1<<62)
		return err
	})
}

// collect removes images that are too old, and enough others for the disk.
func (c *Collector) collect(ctx context.Context) error {
	return c.locked(ctx, func(now time.Time, unused []*Image) error {
		p := c.cfg.Policy
		var old, rest []*Image
		for _, img := range unused {
			// Which images were used before is not known for as long after a start.
			if last := later(c.used[img.ID], img.AddedAt); p.MaxAge > 0 && now.Sub(last) > p.MaxAge && now.Sub(c.began) > p.MaxAge {
				old = append(old, img)
			} else {
				rest = append(rest, img)
			}
		}
		_, err := c.remove(ctx, old, 1<<62)
		capacity, available, errDisk := diskOf(c.cfg.Store.Dir())
		if err = errors.Join(err, errDisk); err != nil || capacity == 0 {
			return err
		}
		excess := toFree(p, capacity, available)
		if excess <= 0 {
			return nil
		}
		freed, err := c.remove(ctx, chosen(rest, c.used, p.MinAge, now), excess)
		if err == nil && freed < excess {
			err = fmt.Errorf("%d%% of the disk of %s are used, and the images that could be removed took %d bytes of the %d that were to be freed: containers, volumes, logs or other files take the rest",
				100-int(available*100/capacity), c.cfg.Store.Dir(), freed, excess)
		}
		return err
	})
}

// toFree is how many bytes are to be freed on a disk; none where that is not due.
func toFree(p Policy, capacity, available int64) int64 {
	if 100-int(available*100/capacity) < p.High {
		return 0
	}
	return capacity*int64(100-p.Low)/100 - available
}

// locked runs fn with the images that no container uses, one call at a time.
func (c *Collector) locked(ctx context.Context, fn func(now time.Time, unused []*Image) error) error {
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
	var unused []*Image
	for _, img := range images {
		known[img.ID] = true
		switch {
		case pinned[img.ID]:
			c.used[img.ID] = now
		case len(img.Loaded) == 0:
			unused = append(unused, img)
		}
	}
	for id := range c.used {
		if !known[id] {
			delete(c.used, id)
		}
	}
	return fn(now, unused)
}

// chosen are the images that may go, the first one first: those that were not
// used for longest, and of these those that are here for longest.
func chosen(unused []*Image, used map[string]time.Time, minAge time.Duration, now time.Time) []*Image {
	out := slices.DeleteFunc(slices.Clone(unused), func(img *Image) bool { return now.Sub(img.AddedAt) < minAge })
	slices.SortFunc(out, func(a, b *Image) int {
		return cmp.Or(used[a.ID].Compare(used[b.ID]), a.AddedAt.Compare(b.AddedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
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

func diskOf(dir string) (capacity, available int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
