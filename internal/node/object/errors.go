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

// raceWindow is how long a refusal may mean no more than that the API server's
// node authorizer has not heard yet that a Pod of the node refers to the object.
const raceWindow = time.Second

// patiently reads an object, again and again while that is forbidden.
func patiently[T any](ctx context.Context, read func() (T, error)) (T, error) {
	pause := 5 * time.Millisecond
	for begin := time.Now(); ; pause *= 2 {
		got, err := read()
		if !apierrors.IsForbidden(err) || time.Since(begin) >= raceWindow {
			return got, err
		}
		select {
		case <-ctx.Done():
			return got, ctx.Err()
		case <-time.After(pause):
		}
	}
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
