package foreign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The terms of the Lease: those of Kubernetes' own controllers. What was done works on while nobody leads.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// Leader does its work in one process of the cluster at a time: the one that holds the Lease.
type Leader struct {
	Client kubernetes.Interface
	// Namespace and Name are the Lease's. Identity is the process's: with the node's name, where there is one process on a
	// node, a process that comes back leads again at once.
	Namespace, Name, Identity string
	// Duration is how long a holder that has died keeps the Lease; 0 is 15 seconds.
	Duration time.Duration
	Work     func(ctx context.Context) error
	// Begins is logged when the work begins.
	Begins string
	Logger *slog.Logger
}

var errLost = errors.New("the Lease is lost; another process leads from now on, or this one does once it gets it again")

// Run waits for the Lease and does the work for as long as it has it. The Lease is given up only after the work has ended.
func (l *Leader) Run(ctx context.Context) error {
	term, renew, retry := leaseDuration, renewDeadline, retryPeriod
	if l.Duration > 0 {
		term, renew, retry = l.Duration, l.Duration*2/3, l.Duration*2/15
	}
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	started := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name}, Client: l.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration: term, RenewDeadline: renew, RetryPeriod: retry,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { started <- ctx }, OnStoppedLeading: func() {},
		},
		ReleaseOnCancel: true, Name: l.Name,
	})
	if err != nil {
		release()
		return fmt.Errorf("wait for the Lease %s/%s: %w", l.Namespace, l.Name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(holding)
	}()
	defer func() {
		release()
		<-ended
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-ended: // it has lost the Lease before it could say that it got it
		return errLost
	case held := <-started:
		return l.lead(ctx, held)
	}
}

// lead does the work until ctx ends or the Lease, held while the other context lasts, is lost.
func (l *Leader) lead(ctx, held context.Context) error {
	l.Logger.Info(l.Begins, "identity", l.Identity)
	working, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(held, stop)()
	err := l.Work(working)
	if err == nil && ctx.Err() == nil {
		err = errLost
	}
	return err
}
