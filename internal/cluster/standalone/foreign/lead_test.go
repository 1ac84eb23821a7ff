package foreign

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// deadline is more than another leader has to wait for a Lease that was given up.
const deadline = 20 * time.Second

// One leads at a time. The Lease of one that is told to end is free after its work has ended, and not before; then another
// leads, without the wait for one that is dead.
func TestLeader(t *testing.T) {
	client := fake.NewClientset()
	events := make(chan string)
	start := func(identity string) (stop func() error) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		l := &Leader{Client: client, Namespace: "ns", Name: "lease", Identity: identity, Logger: slog.New(slog.DiscardHandler), Work: func(ctx context.Context) error {
			events <- identity + " begins"
			<-ctx.Done()
			lease, err := client.CoordinationV1().Leases("ns").Get(context.Background(), "lease", metav1.GetOptions{})
			if err != nil || *lease.Spec.HolderIdentity != identity {
				t.Errorf("while %s works, the Lease is %+v, %v", identity, lease, err)
			}
			events <- identity + " ends"
			return nil
		}}
		go func() { ended <- l.Run(ctx) }()
		return func() error { cancel(); return <-ended }
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-events:
			if got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		case <-time.After(deadline):
			t.Fatalf("not within %s: %s", deadline, want)
		}
	}
	stopOne := start("one")
	next("one begins")
	stopTwo := start("two")
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- stopOne() }()
	next("one ends")
	if err := <-done; err != nil {
		t.Errorf("one that is told to end: %v", err)
	}
	next("two begins")
	if took := time.Since(began); took >= leaseDuration {
		t.Errorf("the other one leads after %s, as if the first one had died", took)
	}
	stopThree := start("three")
	if err := stopThree(); err != nil {
		t.Errorf("one that never led: %v", err)
	}
	go func() { done <- stopTwo() }()
	next("two ends")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Work that fails ends the term, and its error is told.
func TestLeaderFails(t *testing.T) {
	broken := errors.New("broken")
	l := &Leader{Client: fake.NewClientset(), Namespace: "ns", Name: "lease", Identity: "one", Logger: slog.New(slog.DiscardHandler), Work: func(context.Context) error { return broken }}
	if err := l.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
