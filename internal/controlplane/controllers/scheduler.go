package controllers

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

const schedulerUser = "system:kube-scheduler"

// podScheduler is upstream's scheduler with its informers and events.
type podScheduler struct {
	*scheduler.Scheduler
	informers   informers.SharedInformerFactory
	dynamic     dynamicinformer.DynamicSharedInformerFactory
	broadcaster events.EventBroadcasterAdapter
	synced      chan struct{} // closed when it knows the cluster's objects
}

func (m *Manager) newScheduler(ctx context.Context, shared informers.SharedInformerFactory) (*podScheduler, error) {
	cfg := rest.AddUserAgent(m.cfg.Connect(schedulerUser), "kube-scheduler")
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("scheduler: client: %w", err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("scheduler: dynamic client: %w", err)
	}
	s := &podScheduler{
		informers:   withOwnPods(shared, scheduler.NewInformerFactory(client, 0)),
		dynamic:     dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, v1.NamespaceAll, nil),
		broadcaster: events.NewEventBroadcasterAdapterWithContext(ctx, client),
		synced:      make(chan struct{}),
	}
	recorder := func(name string) events.EventRecorderLogger { return s.broadcaster.NewRecorder(name) }
	s.Scheduler, err = scheduler.New(ctx, client, s.informers, s.dynamic, profile.RecorderFactory(recorder),
		scheduler.WithKubeConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	return s, nil
}

// run schedules until ctx ends.
func (s *podScheduler) run(ctx context.Context) {
	s.broadcaster.StartRecordingToSink(ctx.Done())
	defer s.broadcaster.Shutdown()
	s.informers.Start(ctx.Done())
	s.dynamic.Start(ctx.Done())
	s.informers.WaitForCacheSync(ctx.Done())
	s.dynamic.WaitForCacheSync(ctx.Done())
	if err := s.WaitForHandlersSync(ctx); err != nil {
		return // only when ctx ended
	}
	close(s.synced)
	s.Scheduler.Run(ctx)
}
