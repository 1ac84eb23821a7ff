package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"minato/internal/controlplane/apiserver"
	"minato/internal/controlplane/controllers"
	"minato/internal/controlplane/etcd"
	"minato/internal/controlplane/klogs"
	"minato/internal/controlplane/memory"
	"minato/internal/controlplane/pki"
	"minato/internal/controlplane/room"
	"minato/internal/host/heap"
	"minato/internal/host/limit"
	"minato/internal/partuse"
)

// inMemoryHost names the server in URLs of in-memory requests.
const inMemoryHost = "http://minato.in-memory"

// settleTime is how long a control plane that is ready still does work of its
// start.
const settleTime = 3 * time.Second

// Config describes one cluster's control plane.
type Config struct {
	Name string
	// DataDir holds etcd/ and pki/. RunDir holds the socket of the embedded etcd.
	DataDir, RunDir string
	// Ephemeral lets the embedded etcd answer before data is on disk.
	Ephemeral bool

	// EtcdServers are the endpoints of an external etcd; with them there is no
	// embedded one. The files are for TLS with it and may be empty.
	EtcdServers                           []string
	EtcdCAFile, EtcdCertFile, EtcdKeyFile string

	// Listeners are open TCP listeners to serve https on. They are closed when
	// Run returns.
	Listeners []net.Listener
	// Limits bounds the connections that the Listeners accept; nil makes bounds
	// for the API server alone.
	Limits *limit.Budget
	// Addresses are where nodes and other machines reach the API server; the
	// first is the endpoint of the kubernetes Service.
	Addresses []netip.Addr

	// ServiceCIDRs and PodCIDRs have one range of each IP family, that of the
	// primary one first.
	ServiceCIDRs, PodCIDRs []netip.Prefix
	NodeCIDRMaskIPv4       int               // of a node's share of the Pod range, default 24
	NodeCIDRMaskIPv6       int               // default 64
	NodePortRange          utilnet.PortRange // default 30000-32767
	ClusterDomain          string            // default cluster.local
	// OldAPIs has old versions of Kubernetes' kinds, which today's manifests no
	// longer use, served by conversion.
	OldAPIs bool
	// RuntimeHandlers are those that the nodes have for RuntimeClasses; nil is not
	// known. Others get a warning.
	RuntimeHandlers []string
	// ExtraSANs are further names and addresses for the serving certificate.
	ExtraSANs []string

	// Started is closed when the start that somebody waits for is over; what can
	// wait for that, the Definitions above all, comes then. It comes some seconds
	// after the API is ready otherwise.
	Started <-chan struct{}
	// Working is called, maybe from several goroutines, when something is about to be
	// changed through the API; nil is nobody.
	Working func()
	// Stage is called, maybe from several goroutines, with the time that a
	// stage of the start took.
	Stage func(name string, took time.Duration)
	// PartFailed is called, maybe from several goroutines, when a part
	// (PartEtcd, PartControllers) has failed and is about to be started again.
	PartFailed func(part string, err error)
	Logger     *slog.Logger

	newStore    func(etcd.Config) (store, error)                            // etcd.New, but for tests
	definitions func() ([]*apiextensionsv1.CustomResourceDefinition, error) // MetalLB's kinds, but for tests
}

// store is an embedded etcd. It can be run once.
type store interface {
	Endpoint() string
	Ready() <-chan struct{}
	Run(ctx context.Context) error
}

// Parts that are started again by themselves. The API server is none: what
// Kubernetes keeps in global variables belongs to the first one, so when it
// fails Run returns, and the process has to be started again.
const (
	PartEtcd        = "etcd"
	PartControllers = "controllers"
)

// ControlPlane is one control plane. It can be run once.
type ControlPlane struct {
	cfg       Config
	authority *pki.Authority
	connector *memory.Connector
	ready     chan struct{}
	defined   chan struct{}
	// components are the scheduler and the controllers.
	components components
	store      atomic.Pointer[store] // the embedded etcd, while it runs

	runsMu sync.Mutex
	runs   map[string]context.CancelCauseFunc // of the parts, by name
}

// New checks the configuration and loads or makes the certificates.
func New(cfg Config) (*ControlPlane, error) {
	cfg, err := withDefaults(cfg)
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	klogs.Prepare(cfg.Logger)
	begin := time.Now()
	dns, addrs, err := servingNames(cfg)
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	authority, err := pki.Open(pki.Config{Dir: filepath.Join(cfg.DataDir, "pki"), DNSNames: dns, Addresses: addrs})
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	cfg.Stage("pki", time.Since(begin))
	return &ControlPlane{
		cfg:       cfg,
		authority: authority,
		connector: memory.NewConnector(),
		ready:     make(chan struct{}),
		defined:   make(chan struct{}),
	}, nil
}

// PKI gives access to the cluster's certificates.
func (c *ControlPlane) PKI() *pki.Authority { return c.authority }

// Ready is closed when the API can be used: it reads and writes, upstream's
// roles and the kubernetes Service exist.
func (c *ControlPlane) Ready() <-chan struct{} { return c.ready }

// Defined is closed when the kinds of MetalLB are served. They are written after
// Ready, so that nobody waits for them who does not use them.
func (c *ControlPlane) Defined() <-chan struct{} { return c.defined }

// RESTConfig connects to the API server in memory as user, of which package
// access has the names. It can be used at any time; requests wait until the
// server is there and knows the rights of Minato's own users. The transport
// cannot carry exec, attach or port-forward, which take over their connection.
func (c *ControlPlane) RESTConfig(user string, groups ...string) *rest.Config {
	return c.connector.RESTConfig(inMemoryHost, memory.NewUser(user, groups...))
}

// Run starts everything and blocks until ctx ends, or the API server fails, or
// etcd does at its start. It stops the controllers first, then the API server,
// then etcd.
func (c *ControlPlane) Run(ctx context.Context) error {
	defer func() {
		for _, l := range c.cfg.Listeners {
			_ = l.Close()
		}
	}()
	begin := time.Now()
	restoreGC := heap.Relax()
	defer restoreGC()

	// failed ends everything when the API server does.
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	klogs.Redirect(c.cfg.Logger, func(err error) { failed(err) })

	if dir := c.storeDir(); dir != "" {
		if err := c.reserve().Free(dir); err != nil {
			c.cfg.Logger.Warn("room that is held for the store can't be given up", "error", err)
		}
	}
	etcd, stopStore, err := c.startStore(failed)
	if err != nil {
		return err
	}
	err = c.runServer(ctx, failed, etcd, begin, restoreGC)
	if stopErr := stopStore(); err == nil {
		err = stopErr
	}
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		err = cause
	}
	return err
}

// reserve holds room for the embedded store.
func (c *ControlPlane) reserve() *room.Reserve {
	return room.NewReserve(room.ReserveConfig{Path: filepath.Join(c.cfg.DataDir, "etcd-reserve"), Logger: c.cfg.Logger})
}

// runServer runs the API server and, once it is ready, its controllers.
func (c *ControlPlane) runServer(ctx context.Context, failed context.CancelCauseFunc, etcd apiserver.Etcd, begin time.Time, restoreGC func()) error {
	server, err := apiserver.New(apiserver.Config{
		Connector:        c.connector,
		PKI:              c.authority,
		Etcd:             etcd,
		Listeners:        c.cfg.Listeners,
		Limits:           c.cfg.Limits,
		AdvertiseAddress: c.cfg.Addresses[0],
		ServiceCIDRs:     c.cfg.ServiceCIDRs,
		NodePorts:        c.cfg.NodePortRange,
		ClusterDomain:    c.cfg.ClusterDomain,
		OldAPIs:          c.cfg.OldAPIs,
		StoreDir:         c.storeDir(),
		Components: apiserver.Checks{
			"scheduler":          func() error { return c.Check(KubeScheduler) },
			"controller-manager": func() error { return c.Check(KubeControllerManager) },
		},
		Definitions:     c.cfg.definitions,
		Stage:           c.cfg.Stage,
		Logger:          c.cfg.Logger.With("component", "apiserver"),
		RuntimeHandlers: c.cfg.RuntimeHandlers,
		Working:         c.cfg.Working,
	})
	if err != nil {
		return err
	}
	var started sync.Once // a later run of the controllers is no stage of the start
	manager, err := controllers.New(controllers.Config{
		ClusterName:      c.cfg.Name,
		Connect:          c.RESTConfig,
		PKI:              c.authority,
		PodCIDRs:         c.cfg.PodCIDRs,
		ServiceCIDRs:     c.cfg.ServiceCIDRs,
		NodeCIDRMaskIPv4: c.cfg.NodeCIDRMaskIPv4,
		NodeCIDRMaskIPv6: c.cfg.NodeCIDRMaskIPv6,
		VolumePluginDir:  filepath.Join(c.cfg.DataDir, "volumeplugins"),
		Stage: func(name string, took time.Duration) {
			started.Do(func() { c.cfg.Stage(name, took) })
		},
		Logger: c.cfg.Logger.With("component", "controllers"),
	})
	if err != nil {
		return err
	}

	c.components.manager.Store(manager)
	// The API server outlives ctx by the time the controllers need to stop.
	serverCtx, stopServer := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServer()
	var g errgroup.Group
	if dir := c.storeDir(); dir != "" && !c.cfg.Ephemeral { // which would hold memory
		g.Go(func() error {
			c.reserve().Run(ctx, dir)
			return nil
		})
	}
	g.Go(func() error {
		err := server.Run(serverCtx)
		if err != nil {
			failed(err)
		}
		return err
	})
	g.Go(func() error {
		c.authority.Run(ctx, func(err error, retry time.Duration) {
			c.cfg.Logger.Warn("Certificates could not be renewed and will be again", "in", retry, "error", err)
		})
		return nil
	})
	c.followCA()

	select {
	case <-server.Ready():
		c.cfg.Stage("apiserver", time.Since(begin))
		close(c.ready)
		g.Go(func() error {
			select {
			case <-server.Defined():
				close(c.defined)
			case <-serverCtx.Done():
			}
			return nil
		})
		g.Go(func() error {
			c.settle(serverCtx, restoreGC)
			server.Define()
			return nil
		})
		c.keepRunning(ctx, PartControllers, func(ctx context.Context) error {
			var m errgroup.Group // a goroutine of its own, because klogs may end it
			m.Go(func() error { return partuse.Run(ctx, partuse.Key{Part: KubeControllerManager.Name}, manager.Run) })
			return m.Wait()
		})
	case <-ctx.Done():
	}
	stopServer()
	return g.Wait()
}

// followCA starts the controllers again when the certificate of a CA was renewed,
// once in nine years: upstream's read it when they start, and publish it to all
// namespaces. Everything else takes a new certificate up by itself.
func (c *ControlPlane) followCA() {
	known := c.authority.CABundle()
	c.authority.OnRenewal(func() {
		now := c.authority.CABundle()
		c.cfg.Logger.Info("Certificates were renewed", "ca", !bytes.Equal(known, now))
		if bytes.Equal(known, now) {
			return
		}
		known = now
		if err := c.Restart(PartControllers); err != nil {
			c.cfg.Logger.Info("The controllers take the CA's new certificate up when they start", "reason", err)
		}
	})
}

// settle returns when the work of the start is over, with the usual garbage
// collection in force again. What is made then fills the gaps that the start has
// left in the heap.
func (c *ControlPlane) settle(ctx context.Context, restoreGC func()) {
	select {
	case <-c.cfg.Started:
	case <-time.After(settleTime): // by then the controllers have made their first lists
	case <-ctx.Done():
	}
	restoreGC()
}

// CheckEtcd tells whether the embedded etcd answers.
func (c *ControlPlane) CheckEtcd() error {
	if server := c.store.Load(); server != nil {
		select {
		case <-(*server).Ready():
			return nil
		default:
		}
	}
	return errors.New("etcd does not answer yet")
}

// startStore starts the embedded etcd, unless there is an external one, and
// returns where the store is and how to stop it.
func (c *ControlPlane) startStore(failed context.CancelCauseFunc) (apiserver.Etcd, func() error, error) {
	if len(c.cfg.EtcdServers) > 0 {
		ready := make(chan struct{})
		close(ready) // as far as we can tell
		return apiserver.Etcd{
			Endpoints: c.cfg.EtcdServers, Ready: ready,
			CAFile: c.cfg.EtcdCAFile, CertFile: c.cfg.EtcdCertFile, KeyFile: c.cfg.EtcdKeyFile,
		}, func() error { return nil }, nil
	}
	cfg := c.etcdConfig()
	server, err := c.cfg.newStore(cfg)
	if err != nil {
		return apiserver.Etcd{}, nil, err
	}
	// Everything else stops before etcd does, so it has a context of its own.
	ctx, cancel := context.WithCancel(context.Background())
	begin := time.Now()
	var g errgroup.Group
	g.Go(func() error {
		err := c.runStore(ctx, cfg, server)
		if err != nil {
			failed(err)
		}
		return err
	})
	g.Go(func() error {
		select {
		case <-server.Ready():
			c.cfg.Stage("etcd", time.Since(begin))
		case <-ctx.Done():
		}
		return nil
	})
	stop := func() error {
		cancel()
		return g.Wait()
	}
	return apiserver.Etcd{Endpoints: []string{server.Endpoint()}, Ready: server.Ready()}, stop, nil
}

// runStore runs the embedded etcd until ctx ends. One that has answered once is
// started again when it fails: the API server connects anew by itself. One that
// never did has data or a configuration that it cannot use, which is an error.
func (c *ControlPlane) runStore(ctx context.Context, cfg etcd.Config, server store) error {
	ready := false
	var fatal error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.keepRunning(ctx, PartEtcd, func(ctx context.Context) error {
		running := server
		c.store.Store(&running)
		err := partuse.Run(ctx, partuse.Key{Part: PartEtcd}, server.Run)
		c.store.Store(nil)
		select {
		case <-server.Ready():
			ready = true
		default:
		}
		if err != nil && !ready {
			fatal = err
			cancel()
			return err
		}
		var errNew error
		server, errNew = c.cfg.newStore(cfg)
		return errors.Join(err, errNew)
	})
	return fatal
}
