package object

import (
	"context"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// named gives a not-found error the singular name that a kubelet's events and
// container states have: `secret "x" not found`.
func named(err error, resource, name string) error {
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(schema.GroupResource{Resource: resource}, name)
	}
	return err
}

// Bounds of the pause between two attempts to watch.
const (
	minPause = 100 * time.Millisecond
	maxPause = 30 * time.Second
)

type backoff struct{ next time.Duration }

func newBackoff() *backoff { return &backoff{next: minPause} }

func (b *backoff) reset() { b.next = minPause }

// sleep pauses, with some jitter so that the watches of a restarted server do
// not all come at once. It returns false if ctx ended.
func (b *backoff) sleep(ctx context.Context) bool {
	t := time.NewTimer(b.next + rand.N(b.next/2))
	defer t.Stop()
	b.next = min(2*b.next, maxPause)
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
