package apiserver

import (
	"fmt"
	"net"
	"net/http"
	"time"

	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/kubeapiserver"

	"minato/internal/controlplane/access"
	"minato/internal/controlplane/compat"
	"minato/internal/controlplane/memory"
	"minato/internal/controlplane/room"
	"minato/internal/controlplane/usage"
)

// genericConfig is what all three API servers of the chain share. It follows
// upstream's order of construction, because later steps read what earlier
// ones set; the loopback connection, for which upstream would generate an RSA
// certificate, is the in-memory one.
func (s *Server) genericConfig(o options.CompletedOptions, ln net.Listener) (*genericapiserver.Config, *serverstorage.DefaultStorageFactory, error) {
	cfg := genericapiserver.NewConfig(legacyscheme.Codecs)
	cfg.MergedResourceConfig = controlplane.DefaultAPIResourceConfigSource()
	if err := o.GenericServerRunOptions.ApplyTo(cfg); err != nil {
		return nil, nil, fmt.Errorf("server options: %w", err)
	}
	cfg.SecureServing = &genericapiserver.SecureServingInfo{
		Listener: ln,
		Cert:     servingCert{s.cfg.PKI},
	}
	cfg.LoopbackClientConfig = s.loopback

	client, err := kubernetes.NewForConfig(cfg.LoopbackClientConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("loopback client: %w", err)
	}
	if err := o.Features.ApplyTo(cfg, client, s.informers); err != nil {
		return nil, nil, fmt.Errorf("feature options: %w", err)
	}
	if err := o.APIEnablement.ApplyTo(cfg, cfg.MergedResourceConfig, legacyscheme.Scheme); err != nil {
		return nil, nil, fmt.Errorf("API enablement: %w", err)
	}
	openAPIConfig(cfg, s.cfg.OldAPIs)
	cfg.LongRunningFunc = filters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"),
		sets.NewString("attach", "exec", "proxy", "log", "portforward"),
	)
	storage, err := storageFactory(cfg, o)
	if err != nil {
		return nil, nil, err
	}
	if err := s.security(cfg, o, client, s.informers); err != nil {
		return nil, nil, err
	}
	cfg.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	cfg.BuildHandlerChainFunc = func(handler http.Handler, c *genericapiserver.Config) http.Handler {
		if s.cfg.OldAPIs {
			handler = compat.WithFields(handler)
		}
		if s.cfg.StoreDir != "" {
			handler = room.NewGuard(s.cfg.StoreDir).Handler(handler)
		}
		return s.tellWork(s.awaitDefinitions(genericapiserver.DefaultBuildHandlerChain(handler, c)))
	}
	return cfg, storage, nil
}

// awaitDefinitions has clients from outside that ask which groups there are wait
// until the Definitions are in force, soon after the start: one that came
// earlier would take it that their kinds don't exist.
func (s *Server) awaitDefinitions(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && r.URL.Path == "/apis" {
			select {
			case <-s.served:
			case <-r.Context().Done():
			case <-time.After(definitionPatience):
			}
		}
		next.ServeHTTP(w, r)
	})
}

func schemes() []*runtime.Scheme {
	return []*runtime.Scheme{legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme, usage.Scheme()}
}

// storageFactory decides which version of each resource is written, and where.
func storageFactory(cfg *genericapiserver.Config, o options.CompletedOptions) (*serverstorage.DefaultStorageFactory, error) {
	o.Etcd.StorageConfig.Transport.TracerProvider = cfg.TracerProvider
	fc := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(cfg.EffectiveVersion)
	fc.APIResourceConfig = cfg.MergedResourceConfig
	fc.DefaultResourceEncoding.SetEffectiveVersion(cfg.EffectiveVersion)
	factory, err := fc.Complete(o.Etcd).New()
	if err != nil {
		return nil, fmt.Errorf("storage factory: %w", err)
	}
	factory.StorageConfig.StorageObjectCountTracker = cfg.StorageObjectCountTracker
	if err := o.Etcd.ApplyWithStorageFactoryTo(factory, cfg); err != nil {
		return nil, fmt.Errorf("etcd options: %w", err)
	}
	return factory, nil
}

// security sets authentication, authorization and audit.
func (s *Server) security(cfg *genericapiserver.Config, o options.CompletedOptions, client kubernetes.Interface, inf informers.SharedInformerFactory) error {
	ctx := wait.ContextForChannel(cfg.DrainedNotify())
	err := o.Authentication.ApplyTo(ctx, &cfg.Authentication, cfg.SecureServing, cfg.EgressSelector,
		cfg.OpenAPIConfig, cfg.OpenAPIV3Config, client, inf, cfg.APIServerID)
	if err != nil {
		return fmt.Errorf("authentication: %w", err)
	}
	cfg.Authentication.Authenticator = memory.Authenticator(cfg.Authentication.Authenticator)

	cfg.Authorization.Authorizer, cfg.RuleResolver, _, err = controlplaneapiserver.BuildAuthorizer(
		ctx, o.CompletedOptions, cfg.EgressSelector, cfg.APIServerID, inf)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	s.rights = &rights{cfg.Authorization.Authorizer, access.Probes(s.dnsAddresses()), inf.Core().V1().Namespaces().Lister()}
	if err := o.Audit.ApplyTo(cfg); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
