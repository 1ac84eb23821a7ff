package remote

import (
	"context"
	"slices"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/runtime/image"
)

// An image that a container has as a volume is in use.
func TestImagesOfVolumesStay(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	f.version = "2.1.0"
	f.images = []*runtimeapi.Image{{Id: "sha256:model"}, {Id: "sha256:idle"}}
	f.containers["c"] = &runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{{ContainerPath: "/models", Image: &runtimeapi.ImageSpec{Image: "sha256:model"}}}}
	if err := r.Collector(image.Policy{}).RemoveUnused(t.Context()); err != nil || !slices.Equal(f.removed, []string{"sha256:idle"}) {
		t.Errorf("removed %v, %v", f.removed, err)
	}
}

// A threshold of 100 percent has the disk never looked at.
func TestImagesStayWithoutThreshold(t *testing.T) {
	_, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	for high, looked := range map[int]bool{85: true, 100: false} { // the runtime can't tell which disk it is
		if err := r.Collector(image.Policy{High: high, Low: 80}).collect(t.Context()); (err != nil) != looked {
			t.Errorf("with a threshold of %d: %v", high, err)
		}
	}
}

// Images that were there when the node started are old enough soon after, not one
// period later. One that was removed by others and comes back is new.
func TestImagesAreSeenAtOnce(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	f.images = []*runtimeapi.Image{{Id: "sha256:idle"}}
	c := r.Collector(image.Policy{MinAge: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	seen := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.seen["sha256:idle"].IsZero()
	}
	for end := time.Now().Add(30 * time.Second); !seen(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the image is not seen")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	f.images = nil
	f.mu.Unlock()
	if err := c.detect(t.Context()); err != nil || seen() {
		t.Errorf("an image that is gone is remembered: %v", err)
	}
}
