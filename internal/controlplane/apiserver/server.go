package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kube-openapi/pkg/common"

	"minato/internal/controlplane/memory"
	"minato/internal/controlplane/pki"
	"minato/internal/controlplane/usage"
	"minato/internal/host/limit"
)

const (
	// resync is upstream's resync period for the API server's informers.
	resync = 10 * time.Minute
	// shutdownTimeout is how long the server waits for open exec, logs -f and
	// proxied connections when it stops.
	shutdownTimeout = 2 * time.Second
	// patience is how long a server that is told to stop during its start may take
	// to finish the start first.
	patience = 10 * time.Second
)

// Config describes the server.
type Config struct {
	Connector *memory.Connector
	PKI       *pki.Authority
	Etcd      Etcd
	// Listeners are served with https; Run closes them.
	Listeners []net.Listener
	// Limits bounds the connections that the Listeners accept; nil makes bounds
	// for this server alone.
	Limits           *limit.Budget
	AdvertiseAddress netip.Addr
	// Working is called when something is about to be changed; nil is nobody.
	Working       func()
	ServiceCIDRs  []netip.Prefix
	NodePorts     utilnet.PortRange
	ClusterDomain string
	// OldAPIs has old versions of Kubernetes' kinds served by conversion.
	OldAPIs bool
	// StoreDir is on the disk of the embedded store; empty where the store is
	// elsewhere.
	StoreDir string
	// Components are asked for the objects of kind ComponentStatus; etcd is asked
	// besides.
	Components Checks
	// RuntimeHandlers are those that the nodes have for RuntimeClasses; nil is not
	// known.
	RuntimeHandlers []string
	// Definitions are CustomResourceDefinitions that the cluster is to have; nil
	// for none. It is called when they have to be written.
	Definitions func() ([]*apiextensionsv1.CustomResourceDefinition, error)
	Stage       func(name string, took time.Duration)
	Logger      *slog.Logger
}

// Server is one API server.
type Server struct {
	cfg        Config
	port       int
	loopback   *rest.Config
	http       *http.Client
	client     kubernetes.Interface
	objects    dynamic.Interface
	informers  informers.SharedInformerFactory
	tasks      []*task
	namespaces *task // one of tasks, for which others wait
	rights     *rights
	openAPIV3  *common.OpenAPIV3Config
	ready      chan struct{}
	define     chan struct{} // closed when the Definitions are to be written
	defineOnce sync.Once
	served     chan struct{} // closed when the Definitions are in force
}

// New checks the configuration and prepares the clients; it starts nothing.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Connector == nil || cfg.PKI == nil:
		return nil, errors.New("API server: Config.Connector and Config.PKI must be set")
	case len(cfg.Listeners) == 0:
		return nil, errors.New("API server: Config.Listeners is empty; open at least one TCP listener")
	case !cfg.AdvertiseAddress.IsValid():
		return nil, errors.New("API server: Config.AdvertiseAddress is not set")
	case len(cfg.ServiceCIDRs) == 0:
		return nil, errors.New("API server: Config.ServiceCIDRs is empty")
	case len(cfg.Etcd.Endpoints) == 0 || cfg.Etcd.Ready == nil:
		return nil, errors.New("API server: Config.Etcd.Endpoints and Ready must be set")
	}
	addr, ok := cfg.Listeners[0].Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("API server: listener %s is not TCP", cfg.Listeners[0].Addr())
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limits, err := cfg.Limits.OrDefault(cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	cfg.Listeners = limits.Wrap(connectionLimit(), cfg.Listeners...)
	if cfg.Stage == nil {
		cfg.Stage = func(string, time.Duration) {}
	}

	host := "https://" + netip.AddrPortFrom(cfg.AdvertiseAddress, uint16(addr.Port)).String()
	loopback := cfg.Connector.ServerConfig(host, memory.NewUser("system:apiserver", "system:masters"))
	httpClient, err := rest.HTTPClientFor(loopback)
	if err != nil {
		return nil, fmt.Errorf("API server: loopback client: %w", err)
	}
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return nil, fmt.Errorf("API server: loopback client: %w", err)
	}
	objects, err := dynamic.NewForConfigAndClient(loopback, httpClient)
	if err != nil {
		return nil, fmt.Errorf("API server: loopback client: %w", err)
	}
	s := &Server{
		cfg:       cfg,
		port:      addr.Port,
		loopback:  loopback,
		http:      httpClient,
		client:    client,
		objects:   objects,
		informers: informers.NewSharedInformerFactoryWithOptions(client, resync, informers.WithTransform(forServer)),
		ready:     make(chan struct{}),
		define:    make(chan struct{}),
		served:    make(chan struct{}),
	}
	s.tasks = s.bootstrapTasks()
	return s, nil
}

// trim drops managedFields, which no reader of an informer needs and which are
// often half of an object.
func trim(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}

// Ready is closed when /readyz is good and the kubernetes Service exists.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Define has the Definitions written and kept. Until they are in force, clients
// that ask which groups there are wait.
func (s *Server) Define() { s.defineOnce.Do(func() { close(s.define) }) }

// Defined is closed when the kinds of Config.Definitions are served, which they
// are some time after Ready, or seem not to become so.
func (s *Server) Defined() <-chan struct{} { return s.served }

// Run serves until ctx ends. Everything that needs no store is done while the
// store starts.
func (s *Server) Run(ctx context.Context) error {
	ln := newFan(s.cfg.Listeners)
	defer func() { _ = ln.Close() }()

	c, err := s.build(ctx, ln)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("API server: %w", err)
	}
	begin := time.Now()
	prepared, err := c.aggregator.PrepareRun()
	if err != nil {
		return fmt.Errorf("API server: prepare: %w", err)
	}
	// The OpenAPI definitions are large and are not needed again before a client
	// asks for the document, which builds them anew.
	s.openAPIV3.Definitions = nil
	c.aggregator.GenericAPIServer.ShutdownTimeout = shutdownTimeout
	s.cfg.Stage("apiserver-prepare", time.Since(begin))

	if ctx.Err() != nil {
		// The shutdown of prepared.Run would wait for parts that never started.
		c.aggregator.GenericAPIServer.Destroy()
		return nil
	}

	// From here on, in-memory clients reach the API.
	if err := s.cfg.Connector.Serve(c.aggregator.GenericAPIServer.Handler); err != nil {
		return err
	}
	run, stopRun := s.patient(ctx)
	defer stopRun()
	begin = time.Now()
	s.startInformers(run, c)
	s.cfg.Stage("apiserver-informers", time.Since(begin))
	s.bootstrap(run)
	var waits sync.WaitGroup
	waits.Go(func() {
		if s.rights.wait(run, s.cfg.Logger) {
			s.cfg.Connector.Open()
		}
	})
	waits.Go(func() {
		if s.waitReady(run) {
			close(s.ready)
			s.keepRights(run)
		}
	})
	waits.Go(func() {
		select {
		case <-s.define:
			waits.Go(func() { s.keepUsage(run, c.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices()) })
			s.keepDefinitions(run, c.crds.Informers.Apiextensions().V1().CustomResourceDefinitions())
		case <-run.Done():
		}
	})
	err = prepared.Run(run)
	stopRun()
	waits.Wait()
	for _, t := range s.tasks {
		<-t.done
	}
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	return nil
}

// patient returns a context that ends after ctx does, but not before the server
// is ready: upstream's hooks take an interruption for a failure, and a failed
// hook for a reason to end the process.
func (s *Server) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-ctx.Done():
		case <-run.Done():
			return
		}
		select {
		case <-s.ready:
		case <-run.Done():
		case <-time.After(patience):
		}
		stop()
	}()
	return run, stop
}

// build makes the chain of servers.
func (s *Server) build(ctx context.Context, ln net.Listener) (*chain, error) {
	begin := time.Now()
	o, err := runOptions(ctx, settings{
		etcd: s.cfg.Etcd, pki: s.cfg.PKI, advertiseAddress: s.cfg.AdvertiseAddress, port: s.port,
		serviceCIDRs: s.cfg.ServiceCIDRs, nodePorts: s.cfg.NodePorts, clusterDomain: s.cfg.ClusterDomain,
		decorators: admission.Decorators{policyGate{s.informers}},
		oldAPIs:    s.cfg.OldAPIs,
		handlers:   s.cfg.RuntimeHandlers,
		objects:    s.objects,
		namespaces: s.informers.Core().V1().Namespaces().Lister(),
	})
	if err != nil {
		return nil, err
	}
	generic, storage, err := s.genericConfig(o, ln)
	if err != nil {
		return nil, err
	}
	s.openAPIV3 = generic.OpenAPIV3Config
	config, err := s.chainConfig(o, generic, storage)
	if err != nil {
		return nil, err
	}
	// The copies for CRDs and aggregation are made, so this concerns only
	// Kubernetes' own APIs.
	generic.SkipOpenAPIInstallation = true
	for _, t := range s.tasks {
		if t.hook != "" {
			generic.DisabledPostStartHooks.Insert(t.hook)
		}
	}
	s.cfg.Stage("apiserver-config", time.Since(begin))

	select {
	case <-s.cfg.Etcd.Ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	begin = time.Now()
	completed, err := config.Complete()
	if err != nil {
		return nil, fmt.Errorf("complete configuration: %w", err)
	}
	metrics, err := s.usageServer()
	if err != nil {
		return nil, err
	}
	generic.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion(usage.GroupVersion), usage.Rank, usage.Rank)
	c, err := newChain(completed, s.cfg.OldAPIs, componentStatuses(s.cfg.Components, storage), metrics.Group(usage.Scheme()))
	if err != nil {
		return nil, err
	}
	version := generic.EffectiveVersion.String()
	if s.cfg.OldAPIs {
		version += " with old APIs" // the documents of the same paths are others
	}
	err = installOpenAPI(c.kube.GenericAPIServer, generic.OpenAPIConfig, generic.OpenAPIV3Config, version)
	if err != nil {
		return nil, err
	}
	s.cfg.Stage("apiserver-chain", time.Since(begin))
	return c, s.replaceHooks(c, generic)
}

// waitReady polls the server in memory, which takes microseconds each time.
func (s *Server) waitReady(ctx context.Context) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for last := ""; ; {
		missing, err := s.missing(ctx)
		if err == nil && missing == "" {
			return true
		}
		if missing != last {
			s.cfg.Logger.Debug("The API server is not ready yet", "missing", missing)
			last = missing
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// missing names what the server still lacks.
func (s *Server) missing(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.loopback.Host+"/readyz", nil)
	if err != nil {
		return "", err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "/readyz " + failedChecks(body), nil
	}
	if !s.hasKubernetesService(ctx) {
		return "Service default/kubernetes", nil
	}
	if missing := s.rights.ofAdmins(ctx); missing != "" {
		return missing, nil
	}
	return "", nil
}

func (s *Server) hasKubernetesService(ctx context.Context) bool {
	_, err := s.client.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, kubernetesService, metav1.GetOptions{})
	return err == nil
}

// failedChecks names the checks that /readyz marks as failed.
func failedChecks(body []byte) string {
	var failed []string
	for line := range strings.Lines(string(body)) {
		if name, ok := strings.CutPrefix(line, "[-]"); ok {
			name, _, _ = strings.Cut(name, " ")
			failed = append(failed, name)
		}
	}
	return strings.Join(failed, ",")
}
