package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/runtime/image"
)

// collectPeriod is how often the disk is looked at, the kubelet's.
const collectPeriod = 5 * time.Minute

// Collector removes images of the runtime that no container uses, whosever they
// are, those first that were not used for longest.
type Collector struct {
	r      *Runtime
	policy image.Policy
	log    *slog.Logger

	mu          sync.Mutex
	began       time.Time
	seen, using map[string]time.Time // when an image was seen first, and in use last
}

// Collector returns what removes images by a policy.
func (r *Runtime) Collector(p image.Policy) *Collector {
	return &Collector{r: r, policy: p, log: r.log, began: time.Now(), seen: map[string]time.Time{}, using: map[string]time.Time{}}
}

// Run removes images by the policy until ctx ends. It looks at once which ones there
// are: none is removed before it was seen for a while, and the disk may be full soon.
func (c *Collector) Run(ctx context.Context) error {
	if err := c.detect(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("images can't be looked at yet; it will be tried again", "endpoint", c.r.cfg.Endpoint, "error", err)
	}
	tick := time.NewTicker(collectPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := c.collect(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("images that no container uses can't be removed", "endpoint", c.r.cfg.Endpoint, "error", err)
		}
	}
}

func (c *Collector) detect(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, err := c.unused(ctx)
	return err
}

// RemoveUnused removes every image that no container uses and that is not too new.
func (c *Collector) RemoveUnused(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	expired, others, err := c.unused(ctx)
	if err != nil {
		return err
	}
	_, err = c.remove(ctx, append(expired, others...), math.MaxInt64)
	return err
}

// collect removes images that are too old, and enough others for the disk.
func (c *Collector) collect(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	expired, others, err := c.unused(ctx)
	if err != nil {
		return err
	}
	remove := func(images []*runtimeapi.Image, enough int64) (int64, error) { return c.remove(ctx, images, enough) }
	return image.Clean(c.policy, expired, others, func() (image.Disk, error) { return c.disk(ctx) }, remove)
}

// disk is the one that the runtime has its images on.
func (c *Collector) disk(ctx context.Context) (image.Disk, error) {
	info, err := c.r.Images().ImageFsInfo(ctx)
	if err != nil {
		return image.Disk{}, err
	}
	for _, fs := range info.GetImageFilesystems() {
		return image.DiskOf(fs.GetFsId().GetMountpoint())
	}
	return image.Disk{}, nil
}

// unused are the images that no container uses and that may go, in order.
func (c *Collector) unused(ctx context.Context) (expired, others []*runtimeapi.Image, err error) {
	conn, now := c.r.conn, time.Now()
	images, err := c.r.Images().ListImages(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	all, err := invoke(ctx, conn, patience, conn.runtime.ListContainers, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, nil, err
	}
	inUse := map[string]bool{}
	for _, ctr := range all.GetContainers() {
		inUse[ctr.GetImage().GetImage()], inUse[ctr.GetImageRef()], inUse[ctr.GetImageId()] = true, true, true
	}
	if err := c.addVolumes(ctx, inUse, all.GetContainers()); err != nil {
		return nil, nil, err
	}
	c.forget(images)
	var unused []image.Unused[*runtimeapi.Image]
	for _, img := range images {
		if c.seen[img.GetId()].IsZero() {
			c.seen[img.GetId()] = now
		}
		names := append(append([]string{img.GetId()}, img.GetRepoTags()...), img.GetRepoDigests()...)
		switch {
		case slices.ContainsFunc(names, func(n string) bool { return inUse[n] }):
			c.using[img.GetId()] = now
		case img.GetPinned():
		default:
			unused = append(unused, image.Unused[*runtimeapi.Image]{Image: img, ID: img.GetId(), Added: c.seen[img.GetId()], Used: c.using[img.GetId()]})
		}
	}
	expired, others = image.Choose(c.policy, unused, c.began, now)
	return expired, others, nil
}

// addVolumes adds the images that containers have as volumes, where the runtime can
// have such.
func (c *Collector) addVolumes(ctx context.Context, inUse map[string]bool, containers []*runtimeapi.Container) error {
	about, err := c.r.whoIs(ctx)
	if err != nil || !about.images {
		return err
	}
	for _, ctr := range containers {
		st, err := c.r.ContainerStatus(ctx, ctr.GetId(), false)
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range st.GetStatus().GetMounts() {
			if name := m.GetImage().GetImage(); name != "" {
				inUse[name] = true
			}
		}
	}
	return nil
}

// forget drops images that are gone: one that is pulled again is new.
func (c *Collector) forget(images []*runtimeapi.Image) {
	there := map[string]bool{}
	for _, img := range images {
		there[img.GetId()] = true
	}
	gone := func(id string, _ time.Time) bool { return !there[id] }
	maps.DeleteFunc(c.seen, gone)
	maps.DeleteFunc(c.using, gone)
}

// remove removes images until so many bytes are free.
func (c *Collector) remove(ctx context.Context, images []*runtimeapi.Image, enough int64) (freed int64, err error) {
	for _, img := range images {
		if freed >= enough {
			break
		}
		if rerr := c.r.Images().RemoveImage(ctx, &runtimeapi.ImageSpec{Image: img.GetId()}); rerr != nil {
			err = errors.Join(err, fmt.Errorf("remove image %s: %w", img.GetId(), rerr))
			continue
		}
		freed += int64(img.GetSize())
		delete(c.seen, img.GetId())
		delete(c.using, img.GetId())
	}
	return freed, err
}
