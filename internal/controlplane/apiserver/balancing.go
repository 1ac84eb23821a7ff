package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/dynamic"
	corelisters "k8s.io/client-go/listers/core/v1"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

// balancingPlugin is the name of the admission plugin that checks the
// configuration of load balancing.
const balancingPlugin = "MinatoLoadBalancing"

// balancingKinds are the kinds of the configuration and what the API calls them.
var balancingKinds = map[string]schema.GroupVersionResource{
	metallb.KindIPAddressPool:    {Group: metallb.Group, Version: "v1beta1", Resource: "ipaddresspools"},
	metallb.KindL2Advertisement:  {Group: metallb.Group, Version: "v1beta1", Resource: "l2advertisements"},
	metallb.KindBGPAdvertisement: {Group: metallb.Group, Version: "v1beta1", Resource: "bgpadvertisements"},
	metallb.KindBGPPeer:          {Group: metallb.Group, Version: "v1beta2", Resource: "bgppeers"},
	metallb.KindBFDProfile:       {Group: metallb.Group, Version: "v1beta1", Resource: "bfdprofiles"},
	metallb.KindCommunity:        {Group: metallb.Group, Version: "v1beta1", Resource: "communities"},
}

// addBalancing registers the plugin and turns it on, before the plugin that
// counts what is created.
func addBalancing(o *genericoptions.AdmissionOptions, objects dynamic.Interface, namespaces corelisters.NamespaceLister) {
	o.Plugins.Register(balancingPlugin, func(io.Reader) (admission.Interface, error) {
		return newBalancing(objects, namespaces), nil
	})
	order := slices.Clone(o.RecommendedPluginOrder)
	at := slices.Index(order, resourcequota.PluginName)
	if at < 0 {
		at = len(order)
	}
	o.RecommendedPluginOrder = slices.Insert(order, at, balancingPlugin)
	o.EnablePlugins = append(o.EnablePlugins, balancingPlugin)
}

// balancing refuses configurations of load balancing that cannot be honoured,
// as MetalLB's webhooks do, and by the checks of whoever uses them. It reads the
// other objects when one is written, and nothing at other times.
type balancing struct {
	*admission.Handler
	objects    dynamic.Interface
	namespaces corelisters.NamespaceLister
	turn       chan struct{} // holds a token while somebody checks an object
	admitted   admitted
}

var _ admission.ValidationInterface = (*balancing)(nil)

func newBalancing(objects dynamic.Interface, namespaces corelisters.NamespaceLister) *balancing {
	return &balancing{
		Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		objects: objects, namespaces: namespaces, turn: make(chan struct{}, 1),
	}
}

// Validate implements admission.ValidationInterface.
func (b *balancing) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	_, known := balancingKinds[a.GetKind().Kind]
	if a.GetResource().Group != metallb.Group || a.GetSubresource() != "" || !known {
		return nil
	}
	if a.GetOperation() == admission.Delete {
		return b.validateDeletion(ctx, a)
	}
	object, ok := a.GetObject().(*unstructured.Unstructured)
	if !ok || unchanged(a, object) {
		return nil
	}
	errs, warnings, err := b.check(ctx, object, a.IsDryRun())
	switch {
	case err != nil:
		return apierrors.NewInternalError(fmt.Errorf("check %s %s/%s: %w", a.GetKind().Kind, a.GetNamespace(), a.GetName(), err))
	case len(errs) > 0:
		return apierrors.NewInvalid(a.GetKind().GroupKind(), object.GetName(), errs)
	}
	for _, text := range warnings {
		warning.AddWarning(ctx, "", text)
	}
	return nil
}

// unchanged tells whether a request leaves an object's meaning as it is. What
// has become bad must not keep its labels and finalizers from being changed.
func unchanged(a admission.Attributes, object *unstructured.Unstructured) bool {
	if object.GetDeletionTimestamp() != nil {
		return true
	}
	old, ok := a.GetOldObject().(*unstructured.Unstructured)
	return ok && a.GetOperation() == admission.Update && equality.Semantic.DeepEqual(old.Object["spec"], object.Object["spec"])
}

// check has an object checked beside what is stored and what other requests are
// about to store.
func (b *balancing) check(ctx context.Context, object *unstructured.Unstructured, dryRun bool) (field.ErrorList, []string, error) {
	for {
		errs, warnings, ended, err := b.checkOnce(ctx, object, dryRun)
		if ended == nil || err != nil {
			return errs, warnings, err
		}
		// Only an object stands in the way whose own request may yet fail.
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// checkOnce returns a channel if the result depends on requests that have not
// ended; it is closed when one of them does.
func (b *balancing) checkOnce(ctx context.Context, object *unstructured.Unstructured, dryRun bool) (errs field.ErrorList, warnings []string, ended <-chan struct{}, err error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, nil, nil, context.Cause(ctx)
	}
	// This comes before the list: who has ended by now is in it.
	coming, ended := b.admitted.besides(ctx, object.GetKind())
	stored, err := b.stored(ctx, object.GetKind())
	if err != nil {
		return nil, nil, nil, err
	}
	errs, warnings = config.Admit(stored, object.Object)
	if len(errs) > 0 {
		return errs, nil, nil, nil
	}
	if len(coming) > 0 {
		for _, o := range coming {
			_ = stored.Add(o.Object) // Admit has decoded it before
		}
		if errs, _ := config.Admit(stored, object.Object); len(errs) > 0 {
			return errs, nil, ended, nil
		}
	}
	if !dryRun {
		b.admitted.add(ctx, object)
	}
	return nil, warnings, nil, nil
}

// stored reads the configuration. What is of the kind that is checked is
// compared with it, so that is as new as it can be; communities are what
// BGPAdvertisements are compared with.
func (b *balancing) stored(ctx context.Context, checked string) (config.Objects, error) {
	var (
		mu      sync.Mutex
		objects config.Objects
		g       errgroup.Group
	)
	for kind, resource := range balancingKinds {
		g.Go(func() error {
			opts := cachedList()
			if kind == checked || kind == metallb.KindCommunity && checked == metallb.KindBGPAdvertisement {
				opts = metav1.ListOptions{}
			}
			list, err := b.objects.Resource(resource).Namespace(config.Namespace).List(ctx, opts)
			switch {
			case apierrors.IsNotFound(err):
				return nil // somebody has taken away the definition
			case err != nil:
				return fmt.Errorf("list %s: %w", resource.Resource, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range list.Items {
				_ = objects.Add(list.Items[i].Object) // one that is bad already is not what is checked
			}
			return nil
		})
	}
	return objects, g.Wait()
}

// validateDeletion refuses to delete a BFDProfile that a BGPPeer uses, as
// MetalLB does, unless the whole namespace is deleted.
func (b *balancing) validateDeletion(ctx context.Context, a admission.Attributes) error {
	if a.GetKind().Kind != metallb.KindBFDProfile || a.GetNamespace() != config.Namespace {
		return nil
	}
	if ns, err := b.namespaces.Get(config.Namespace); err == nil && ns.DeletionTimestamp != nil {
		return nil
	}
	name := a.GetName()
	if old, ok := a.GetOldObject().(*unstructured.Unstructured); ok {
		name = old.GetName() // of one of several that are deleted by one request
	}
	peers, err := b.objects.Resource(balancingKinds[metallb.KindBGPPeer]).Namespace(config.Namespace).List(ctx, metav1.ListOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return apierrors.NewInternalError(fmt.Errorf("delete BFDProfile %s: list BGPPeers: %w", name, err))
	}
	for i := range peers.Items {
		if used, _, _ := unstructured.NestedString(peers.Items[i].Object, "spec", "bfdProfile"); used == name && name != "" {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), name,
				errors.New("BGPPeer "+peers.Items[i].GetName()+" uses it; take it out of spec.bfdProfile there first"))
		}
	}
	return nil
}
