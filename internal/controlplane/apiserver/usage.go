package apiserver

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	apiregistrationinformers "k8s.io/kube-aggregator/pkg/client/informers/externalversions/apiregistration/v1"

	"minato/internal/controlplane/access"
	"minato/internal/controlplane/memory"
	"minato/internal/controlplane/usage"
)

// usageServer makes the server of metrics.k8s.io, which is a user like any other
// part.
func (s *Server) usageServer() (*usage.Server, error) {
	client, err := kubernetes.NewForConfig(s.cfg.Connector.RESTConfig(s.loopback.Host, memory.NewUser(access.UserUsage)))
	if err != nil {
		return nil, fmt.Errorf("client of metrics.k8s.io: %w", err)
	}
	return usage.New(usage.Config{
		Client: client, Roots: s.cfg.PKI.CABundle,
		Certificate: func() (cert, key []byte, err error) {
			pair, err := s.cfg.PKI.PartClient(access.UserUsage)
			return pair.Cert, pair.Key, err
		},
		Logger: s.cfg.Logger.With("api", usage.GroupVersion.String()),
	})
}

// usageRegistration keeps the APIService of metrics.k8s.io until ctx ends: it is
// created where there is none. One of somebody else, such as metrics-server's,
// names a Service, which then answers in our place; it is left alone, and ours
// comes back when theirs is deleted. Upstream's own registration would take the
// name back at the next start.
type usageRegistration struct {
	client apiregistrationclient.APIServiceInterface
	known  apiregistrationinformers.APIServiceInformer
	gone   chan struct{}
}

// keepUsage registers metrics.k8s.io, and tries again until it is done.
func (s *Server) keepUsage(ctx context.Context, known apiregistrationinformers.APIServiceInformer) {
	err := s.registerUsage(ctx, known)
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Error("metrics.k8s.io cannot be registered", "error", err)
	}
}

func (s *Server) registerUsage(ctx context.Context, known apiregistrationinformers.APIServiceInformer) error {
	client, err := apiregistrationclient.NewForConfigAndClient(s.loopback, s.http)
	if err != nil {
		return err
	}
	r := &usageRegistration{client.APIServices(), known, make(chan struct{}, 1)}
	registration, err := known.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: r.notify})
	if err != nil { // of an informer that has stopped
		return err
	}
	defer func() { _ = known.Informer().RemoveEventHandler(registration) }()
	for {
		for delay := keepPause; ; delay = min(2*delay, definitionPause) {
			err := r.ensure(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			s.cfg.Logger.Warn("The APIService of metrics.k8s.io could not be written, will try again", "in", delay, "error", err)
			if err := pause(ctx, delay); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.gone:
		}
		if err := pause(ctx, keepPause); err != nil {
			return err
		}
	}
}

// pause returns after d, or with an error when ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func usageServiceName() string { return usage.GroupVersion.Version + "." + usage.GroupVersion.Group }

func (r *usageRegistration) notify(obj any) {
	if deleted, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = deleted.Obj
	}
	if o, err := meta.Accessor(obj); err != nil || o.GetName() != usageServiceName() {
		return
	}
	select {
	case r.gone <- struct{}{}:
	default:
	}
}

// ensure creates the APIService where there is none.
func (r *usageRegistration) ensure(ctx context.Context) error {
	_, err := r.known.Lister().Get(usageServiceName())
	switch {
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("get APIService %s: %w", usageServiceName(), err)
	}
	_, err = r.client.Create(ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: usageServiceName()},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: usage.GroupVersion.Group, Version: usage.GroupVersion.Version,
			GroupPriorityMinimum: usage.Rank, VersionPriority: usage.Rank,
		},
	}, metav1.CreateOptions{FieldManager: definitionManager})
	return create("APIService "+usageServiceName(), err)
}
