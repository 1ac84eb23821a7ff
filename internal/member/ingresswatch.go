package member

import (
	"context"
	"time"

	"k8s.io/client-go/informers"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"

	"minato/internal/ingress"
)

// startPatience is how long a start may take before Ingresses and claims are
// followed all the same: what an earlier server has started serves meanwhile what
// it knew.
const startPatience = 10 * time.Second

// watchIngresses makes what all members need to serve Ingresses.
func (w *Watch) watchIngresses(cfg WatchConfig, client kubernetes.Interface) error {
	w.started, w.found, w.served, w.ingressClient = cfg.Started, cfg.Found, cfg.Served, client
	w.ingresses = informers.NewSharedInformerFactory(client, 0)
	var err error
	w.ingress, err = ingress.NewObjects(ingress.ObjectsConfig{
		Client: client, Ingresses: w.Ingresses(), Classes: w.IngressClasses(), Services: w.Services(), Slices: w.EndpointSlices(),
		Options: ingress.DefaultOptions(), Logger: cfg.Logger.With("part", "ingress"),
	})
	return err
}

// followIngresses follows Ingresses and what they refer to, after the start.
func (w *Watch) followIngresses(ctx context.Context) error {
	if w.awaitStart(ctx) != nil {
		return nil
	}
	w.ingresses.Start(ctx.Done())
	defer w.ingresses.Shutdown()
	return w.ingress.Run(ctx)
}

// awaitStart returns when the cluster's start is over or takes too long, or when
// ctx ends.
func (w *Watch) awaitStart(ctx context.Context) error {
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.started:
	case <-timer.C:
	}
	return nil
}

// Ingresses are the cluster's.
func (w *Watch) Ingresses() networkinginformers.IngressInformer {
	return w.ingresses.Networking().V1().Ingresses()
}

// IngressClasses are the cluster's.
func (w *Watch) IngressClasses() networkinginformers.IngressClassInformer {
	return w.ingresses.Networking().V1().IngressClasses()
}

// EndpointSlices are the cluster's.
func (w *Watch) EndpointSlices() discoveryinformers.EndpointSliceInformer {
	return w.services.Discovery().V1().EndpointSlices()
}
