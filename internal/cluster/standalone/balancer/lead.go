package balancer

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

// The terms of the Lease: those of Kubernetes' own controllers. Addresses that are given work on while nobody leads.
const (
	leaseName     = "minato-loadbalancer"
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leader does its work in one process of the cluster at a time: the one that holds the Lease.
type leader struct {
	client kubernetes.Interface
	// namespace is where the Lease is. identity is the node's name, so that a process that comes back leads again at once;
	// there is one process on a node.
	namespace, identity string
	work                func(ctx context.Context) error
	log                 *slog.Logger
}

var errLost = errors.New("the Lease is lost; another process gives addresses from now on, or this one does once it gets it again")

// Run waits for the Lease and does the work for as long as it has it. The Lease is given up only after the work has ended.
func (l *leader) Run(ctx context.Context) error {
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	started := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: leaseName}, Client: l.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.identity},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { started <- ctx }, OnStoppedLeading: func() {},
		},
		ReleaseOnCancel: true, Name: leaseName,
	})
	if err != nil {
		release()
		return fmt.Errorf("wait for the Lease %s/%s: %w", l.namespace, leaseName, err)
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
func (l *leader) lead(ctx, held context.Context) error {
	l.log.Info("This process gives Services their addresses from now on", "node", l.identity)
	working, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(held, stop)()
	err := l.work(working)
	if err == nil && ctx.Err() == nil {
		err = errLost
	}
	return err
}
