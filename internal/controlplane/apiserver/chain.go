package apiserver

import (
	"fmt"

	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	registry "k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/kube-aggregator/pkg/apiserver"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"

	"minato/internal/controlplane/compat"
)

// chain is the three servers that hand requests on: aggregation, then
// Kubernetes' own APIs, then custom resources.
type chain struct {
	aggregator *apiserver.APIAggregator
	kube       *controlplaneapiserver.Server
	crds       *apiextensionsapiserver.CustomResourceDefinitions
}

// chainConfig configures the three servers from what they share.
func (s *Server) chainConfig(o options.CompletedOptions, generic *genericapiserver.Config, storage *serverstorage.DefaultStorageFactory) (*app.Config, error) {
	kube, resolver, initializers, err := app.CreateKubeAPIServerConfig(o, generic, s.informers, storage)
	if err != nil {
		return nil, fmt.Errorf("configure Kubernetes APIs: %w", err)
	}
	authInfo := webhook.NewDefaultAuthenticationInfoResolverWrapper(
		kube.ControlPlane.ProxyTransport, generic.EgressSelector, generic.LoopbackClientConfig, generic.TracerProvider)
	crds, err := controlplaneapiserver.CreateAPIExtensionsConfig(*generic, s.informers, initializers,
		o.CompletedOptions, o.MasterCount, resolver, authInfo)
	if err != nil {
		return nil, fmt.Errorf("configure CRDs: %w", err)
	}
	aggregator, err := controlplaneapiserver.CreateAggregatorConfig(*generic, o.CompletedOptions, s.informers,
		resolver, kube.ControlPlane.ProxyTransport, kube.ControlPlane.Extra.PeerProxy, initializers)
	if err != nil {
		return nil, fmt.Errorf("configure aggregation: %w", err)
	}
	for _, options := range []*registry.RESTOptionsGetter{
		&kube.ControlPlane.Generic.RESTOptionsGetter, &crds.GenericConfig.RESTOptionsGetter, &crds.ExtraConfig.CRDRESTOptionsGetter,
		&aggregator.GenericConfig.RESTOptionsGetter,
	} {
		*options = patientWatches{*options}
	}
	return &app.Config{Options: o, Aggregator: aggregator, KubeAPIs: kube, ApiExtensions: crds}, nil
}

// newChain makes the three servers, last first. Upstream's own function for it
// keeps the CRD informers to itself, and those must run before the hooks do. With
// oldAPIs there are old versions of Kubernetes' own APIs as well; more are groups
// of others.
func newChain(config app.CompletedConfig, oldAPIs bool, statuses rest.Storage, more ...*genericapiserver.APIGroupInfo) (*chain, error) {
	notFound := notfoundhandler.New(config.KubeAPIs.ControlPlane.Generic.Serializer, genericapifilters.NoMuxAndDiscoveryIncompleteKey)
	crds, err := config.ApiExtensions.New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return nil, fmt.Errorf("install CRDs: %w", err)
	}
	if oldAPIs {
		if err := compat.ExtendDefinitions(crds.GenericAPIServer, config.ApiExtensions.GenericConfig.RESTOptionsGetter); err != nil {
			return nil, err
		}
	}
	kube, err := newKube(config.KubeAPIs, crds.GenericAPIServer, oldAPIs, statuses, more...)
	if err != nil {
		return nil, fmt.Errorf("install Kubernetes APIs: %w", err)
	}
	order := priorities()
	if oldAPIs {
		compat.AddPriorities(order)
	}
	aggregator, err := controlplaneapiserver.CreateAggregatorServer(config.Aggregator, kube.GenericAPIServer,
		crds.Informers.Apiextensions().V1().CustomResourceDefinitions(), true, order)
	if err != nil {
		return nil, fmt.Errorf("install aggregation: %w", err)
	}
	return &chain{aggregator, kube, crds}, nil
}

// priorities order groups, and versions within a group, in discovery: kubectl
// takes the first match for a bare resource name. The values are part of
// Kubernetes' behaviour; a group version that is served but not listed here
// gets no APIService.
func priorities() map[schema.GroupVersion]controlplaneapiserver.APIServicePriority {
	all := controlplaneapiserver.DefaultGenericAPIServicePriorities()
	for _, p := range []struct {
		group, version         string
		groupRank, versionRank int32
	}{
		{"apps", "v1", 17800, 15},
		{"autoscaling", "v1", 17500, 15},
		{"autoscaling", "v2", 17500, 30},
		{"batch", "v1", 17400, 15},
		{"networking.k8s.io", "v1", 17200, 15},
		{"networking.k8s.io", "v1beta1", 17200, 9},
		{"policy", "v1", 17100, 15},
		{"storage.k8s.io", "v1", 16800, 15},
		{"storage.k8s.io", "v1beta1", 16800, 9},
		{"storage.k8s.io", "v1alpha1", 16800, 1},
		{"scheduling.k8s.io", "v1", 16600, 15},
		{"scheduling.k8s.io", "v1alpha2", 16600, 2},
		{"node.k8s.io", "v1", 16300, 15},
		{"resource.k8s.io", "v1", 16200, 21},
		{"resource.k8s.io", "v1beta2", 16200, 15},
		{"resource.k8s.io", "v1beta1", 16200, 9},
		{"resource.k8s.io", "v1alpha3", 16200, 1},
	} {
		gv := schema.GroupVersion{Group: p.group, Version: p.version}
		all[gv] = controlplaneapiserver.APIServicePriority{Group: p.groupRank, Version: p.versionRank}
	}
	return all
}
