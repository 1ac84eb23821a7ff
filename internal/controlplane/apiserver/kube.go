package apiserver

import (
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/controller/kubernetesservice"

	"minato/internal/controlplane/compat"
)

// newKube makes the server of Kubernetes' own APIs, with old versions of them if
// oldAPIs is set, with statuses for the objects of kind ComponentStatus, and with
// more groups that are none of Kubernetes' own. Upstream's own function for it
// drops versions that were removed from Kubernetes, and groups can't be changed
// once they are installed. The ServiceCIDR of the cluster is a step of the
// bootstrap and not of this server.
func newKube(config controlplane.CompletedConfig, delegate genericapiserver.DelegationTarget, oldAPIs bool, statuses rest.Storage, more ...*genericapiserver.APIGroupInfo) (*controlplaneapiserver.Server, error) {
	server, err := config.ControlPlane.New(controlplaneapiserver.KubeAPIServer, delegate)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config.ControlPlane.Generic.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("loopback client: %w", err)
	}
	providers, err := config.StorageProviders(client)
	if err != nil {
		return nil, err
	}
	groups, err := installable(server, providers, statuses)
	if err != nil {
		return nil, err
	}
	if oldAPIs {
		if groups, err = compat.Extend(groups); err != nil {
			return nil, err
		}
	}
	if err := server.GenericAPIServer.InstallAPIGroups(append(groups, more...)...); err != nil {
		return nil, err
	}
	return server, addServiceController(config, server.GenericAPIServer, client)
}

// installable installs the core group, and returns the others with what of their
// versions this release of Kubernetes serves.
func installable(server *controlplaneapiserver.Server, providers []controlplaneapiserver.RESTStorageProvider, statuses rest.Storage) ([]*genericapiserver.APIGroupInfo, error) {
	generic := server.GenericAPIServer
	served, err := genericapiserver.NewResourceExpirationEvaluatorFromOptions(genericapiserver.ResourceExpirationEvaluatorOptions{
		CurrentVersion:                          generic.EffectiveVersion.EmulationVersion(),
		Prerelease:                              generic.EffectiveVersion.BinaryVersion().PreRelease(),
		EmulationForwardCompatible:              generic.EmulationForwardCompatible,
		RuntimeConfigEmulationForwardCompatible: generic.RuntimeConfigEmulationForwardCompatible,
	})
	if err != nil {
		return nil, err
	}
	var groups []*genericapiserver.APIGroupInfo
	for _, p := range providers {
		name := p.GroupName()
		info, err := p.NewRESTStorage(server.APIResourceConfigSource, server.RESTOptionsGetter)
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", name, err)
		}
		if len(info.VersionedResourcesStorageMap) > 0 {
			err := served.RemoveUnavailableKinds(name, info.Scheme, info.VersionedResourcesStorageMap, server.APIResourceConfigSource)
			if err != nil {
				return nil, fmt.Errorf("group %q: %w", name, err)
			}
		}
		if len(info.VersionedResourcesStorageMap) == 0 {
			continue // all of it is off by default
		}
		if withHook, ok := p.(genericapiserver.PostStartHookProvider); ok {
			hook, run, err := withHook.PostStartHook()
			if err != nil {
				return nil, fmt.Errorf("hook of group %q: %w", name, err)
			}
			if err := generic.AddPostStartHook(hook, run); err != nil {
				return nil, err
			}
		}
		if name != "" {
			groups = append(groups, &info)
			continue
		}
		if v1 := info.VersionedResourcesStorageMap["v1"]; v1["componentstatuses"] != nil {
			v1["componentstatuses"] = statuses
		}
		if err := generic.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &info); err != nil {
			return nil, fmt.Errorf("core group: %w", err)
		}
	}
	return groups, nil
}

// addServiceController has the server keep the kubernetes Service and its
// endpoints.
func addServiceController(config controlplane.CompletedConfig, server *genericapiserver.GenericAPIServer, client kubernetes.Interface) error {
	_, port, err := config.ControlPlane.Generic.SecureServing.HostPort()
	if err != nil {
		return fmt.Errorf("listener's address: %w", err)
	}
	extra := config.Extra
	controller := kubernetesservice.New(kubernetesservice.Config{
		PublicIP:                  config.ControlPlane.Generic.PublicAddress,
		EndpointReconciler:        extra.EndpointReconcilerConfig.Reconciler,
		EndpointInterval:          extra.EndpointReconcilerConfig.Interval,
		ServiceIP:                 extra.APIServerServiceIP,
		ServicePort:               extra.APIServerServicePort,
		PublicServicePort:         port,
		KubernetesServiceNodePort: extra.KubernetesServiceNodePort,
	}, client, config.ControlPlane.Extra.VersionedInformers.Core().V1().Services())
	return errors.Join(
		server.AddPostStartHook("bootstrap-controller", func(hc genericapiserver.PostStartHookContext) error {
			controller.Start(hc.Done())
			return nil
		}),
		server.AddPreShutdownHook("stop-kubernetes-service-controller", func() error {
			controller.Stop()
			return nil
		}),
	)
}
