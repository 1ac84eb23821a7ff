package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	cacheddiscovery "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	serviceaccountcontroller "k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"minato/internal/controlplane/pki"
	"minato/internal/partuse"
)

const (
	managerUser = "system:kube-controller-manager"
	// shutdownTimeout bounds the wait for controllers that don't stop.
	shutdownTimeout = 5 * time.Second
	// mapperReset is how often the kinds of the API are looked up again.
	mapperReset = 30 * time.Second
)

// Config describes the cluster to the controllers.
type Config struct {
	ClusterName  string
	Connect      Connect
	PKI          *pki.Authority
	PodCIDRs     []netip.Prefix
	ServiceCIDRs []netip.Prefix
	// Of a node's share of the Pod range.
	NodeCIDRMaskIPv4, NodeCIDRMaskIPv6 int
	// VolumePluginDir is where FlexVolume drivers are looked for.
	VolumePluginDir string
	Stage           func(name string, took time.Duration)
	Logger          *slog.Logger
}

// Manager runs the controllers and the scheduler. It can be run again after a
// run has ended: each builds everything anew.
type Manager struct {
	cfg       Config
	component kubectrlmgrconfig.KubeControllerManagerConfiguration
	clients   clients
	health    atomic.Pointer[health] // of the run that goes on
}

// New checks the configuration.
func New(cfg Config) (*Manager, error) {
	switch {
	case cfg.Connect == nil || cfg.PKI == nil:
		return nil, errors.New("controllers: Config.Connect and Config.PKI must be set")
	case len(cfg.PodCIDRs) == 0 || len(cfg.ServiceCIDRs) == 0:
		return nil, errors.New("controllers: Config.PodCIDRs and Config.ServiceCIDRs must not be empty")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Stage == nil {
		cfg.Stage = func(string, time.Duration) {}
	}
	component, err := componentConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &Manager{cfg: cfg, component: component, clients: clients{connect: cfg.Connect}}, nil
}

// Run builds and runs everything until ctx ends, or a controller or the
// scheduler ends by itself, which is an error. The API must be usable. One
// controller cannot be run again alone: upstream's constructors need informers
// that have not started yet.
func (m *Manager) Run(ctx context.Context) error {
	ctx, ended := context.WithCancelCause(ctx)
	defer ended(nil)
	begin := time.Now()

	// Upstream's constructors add handlers that use what later lines of the same
	// constructor set. So one factory serves controllers and scheduler, and not
	// the API server as well, whose informers are running by now.
	cc, err := m.controllerContext(ctx)
	if err != nil {
		return err
	}
	sched, err := m.newScheduler(ctx, cc.InformerFactory)
	if err != nil {
		return err
	}
	all, err := m.build(ctx, cc)
	if err != nil {
		return err
	}
	cc.InformerFactory.Start(ctx.Done())
	cc.ObjectOrMetadataInformerFactory.Start(ctx.Done())
	close(cc.InformersStarted)
	m.cfg.Stage("controllers", time.Since(begin))

	h := newHealth(ctx.Done(), cc.InformerFactory, all, sched)
	m.health.Store(&h)
	defer m.health.Store(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range all {
		all[i] = watch(all[i], ended)
	}
	wg.Go(func() { partuse.Do(ctx, partuse.Key{Part: Scheduler}, watch(loop{"scheduler", sched.run}, ended).Run) })
	if !app.RunControllers(ctx, cc, all, 0, shutdownTimeout) {
		m.cfg.Logger.Warn("Some controllers did not stop in time", "timeout", shutdownTimeout)
	}
	if cause := context.Cause(ctx); errors.Is(cause, errEnded) {
		return cause
	}
	return nil
}

// errEnded is the error of a controller or scheduler that returned before it
// was told to.
var errEnded = errors.New("a controller ended by itself")

// watch tells when a controller ends before it is told to.
func watch(c app.Controller, ended context.CancelCauseFunc) app.Controller {
	return loop{c.Name(), func(ctx context.Context) {
		c.Run(ctx)
		if ctx.Err() == nil {
			ended(fmt.Errorf("%w: %s", errEnded, c.Name()))
		}
	}}
}

// controllerContext is what upstream's constructors ask for. Upstream's own
// one first waits for an API server that this process has waited for already.
func (m *Manager) controllerContext(ctx context.Context) (app.ControllerContext, error) {
	var cc app.ControllerContext
	component := *m.component.DeepCopy()
	root := m.cfg.Connect(managerUser)
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(root, "shared-informers"))
	if err != nil {
		return cc, fmt.Errorf("controllers: informers' client: %w", err)
	}
	metadataClient, err := metadata.NewForConfig(root)
	if err != nil {
		return cc, fmt.Errorf("controllers: metadata client: %w", err)
	}
	discovery, err := discovery.NewDiscoveryClientForConfig(rest.AddUserAgent(root, "controller-discovery"))
	if err != nil {
		return cc, fmt.Errorf("controllers: discovery client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cacheddiscovery.NewMemCacheClient(discovery))
	go wait.Until(mapper.Reset, mapperReset, ctx.Done()) // ends with the run

	resync := func() time.Duration { return wait.Jitter(component.Generic.MinResyncPeriod.Duration, 1) }
	shared := informers.NewSharedInformerFactoryWithOptions(client, resync(), informers.WithTransform(trim))
	metadataInformers := metadatainformer.NewSharedInformerFactoryWithOptions(metadataClient, resync(), metadatainformer.WithTransform(trim))
	cc = app.ControllerContext{
		ClientBuilder:                   m.clients,
		InformerFactory:                 shared,
		ObjectOrMetadataInformerFactory: informerfactory.NewInformerFactory(shared, metadataInformers),
		ComponentConfig:                 component,
		RESTMapper:                      mapper,
		InformersStarted:                make(chan struct{}),
		ResyncPeriod:                    resync,
		ControllerManagerMetrics:        controllersmetrics.NewControllerManagerMetrics("kube-controller-manager"),
	}
	ignored := map[schema.GroupResource]struct{}{}
	for r := range garbagecollector.DefaultIgnoredResources() {
		ignored[r] = struct{}{}
	}
	cc.GraphBuilder = garbagecollector.NewDependencyGraphBuilder(ctx, metadataClient, mapper, ignored,
		cc.ObjectOrMetadataInformerFactory, cc.InformersStarted)
	return cc, nil
}

// trim drops managedFields, which no controller reads and which are often half
// of an object.
func trim(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}

// build makes every enabled controller.
func (m *Manager) build(ctx context.Context, cc app.ControllerContext) ([]app.Controller, error) {
	tokens, err := m.tokenController(ctx, cc)
	if err != nil {
		return nil, err
	}
	all := []app.Controller{tokens}
	for name, d := range app.NewControllerDescriptors() {
		if d.RequiresSpecialHandling() || d.IsCloudProviderController() || !cc.IsControllerEnabled(d) {
			continue
		}
		c, err := buildOne(ctx, cc, d)
		if err != nil {
			return nil, fmt.Errorf("controllers: build %s: %w", name, err)
		}
		if c != nil { // nil: a feature gate or the configuration turned it off
			all = append(all, c)
		}
	}
	return all, nil
}

func buildOne(ctx context.Context, cc app.ControllerContext, d *app.ControllerDescriptor) (app.Controller, error) {
	switch d.Name() {
	case names.ValidatingAdmissionPolicyStatusController:
		// It holds the schemas of every built-in type.
		return newLazy(d, cc, cc.InformerFactory.Admissionregistration().V1().ValidatingAdmissionPolicies().Informer())
	case names.PersistentVolumeBinderController:
		return newVolumeBinder(ctx, cc)
	case names.NamespaceController:
		return newNamespaceController(ctx, cc)
	}
	return d.BuildController(ctx, cc)
}

// tokenController fills Secrets of type service-account-token. Upstream builds
// it apart from the others, because there they need its tokens, and gives it
// the manager's own identity.
func (m *Manager) tokenController(ctx context.Context, cc app.ControllerContext) (app.Controller, error) {
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(m.cfg.Connect(managerUser), "tokens-controller"))
	if err != nil {
		return nil, fmt.Errorf("controllers: client for %s: %w", names.ServiceAccountTokenController, err)
	}
	generator, err := serviceaccount.JWTTokenGenerator(serviceaccount.LegacyIssuer, m.cfg.PKI.ServiceAccountKey())
	if err != nil {
		return nil, fmt.Errorf("controllers: ServiceAccount token generator: %w", err)
	}
	logger := klog.FromContext(ctx)
	c, err := serviceaccountcontroller.NewTokensController(klog.LoggerWithName(logger, names.ServiceAccountTokenController),
		cc.InformerFactory.Core().V1().ServiceAccounts(), cc.InformerFactory.Core().V1().Secrets(), client,
		serviceaccountcontroller.TokensControllerOptions{TokenGenerator: generator, RootCA: m.cfg.PKI.CABundle()})
	if err != nil {
		return nil, fmt.Errorf("controllers: build %s: %w", names.ServiceAccountTokenController, err)
	}
	workers := int(cc.ComponentConfig.SAController.ConcurrentSATokenSyncs)
	return loop{names.ServiceAccountTokenController, func(ctx context.Context) { c.Run(ctx, workers) }}, nil
}

// loop is an app.Controller made of a function.
type loop struct {
	name string
	run  func(context.Context)
}

func (l loop) Name() string            { return l.name }
func (l loop) Run(ctx context.Context) { l.run(ctx) }
