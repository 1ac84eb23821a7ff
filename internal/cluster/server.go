package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"minato/internal/claims"
	"minato/internal/controlplane"
	"minato/internal/controlplane/access"
	"minato/internal/host"
	"minato/internal/host/heap"
	"minato/internal/host/limit"
	"minato/internal/host/slack"
	"minato/internal/ingress"
	"minato/internal/loadbalancer"
	"minato/internal/member"
	"minato/internal/partuse"
	"minato/internal/podnet"
	"minato/internal/runtime/image"
	"minato/internal/runtime/oci"
	"minato/internal/supervise"
)

// Server is the process that holds the control plane and every node of the
// cluster on this machine.
type Server struct {
	cfg      Config
	paths    Paths
	log      *slog.Logger
	progress *progress
	began    time.Time
	kept     bool          // the process is started again when it ends unexpectedly
	started  chan struct{} // closed when the start is over

	lan     *lan
	control *controlplane.ControlPlane
	client  kubernetes.Interface // for requests over the control socket
	// nodesClient removes what the API has of nodes that are removed.
	nodesClient kubernetes.Interface
	watch       *member.Watch
	// balancer gives Services of type LoadBalancer their addresses; balancerEvents
	// tells of it.
	balancer       *loadbalancer.Controller
	balancerEvents *loadbalancer.Recorder
	// ingress is what the cluster has once for its Ingresses; ingressEvents tells
	// of them.
	ingress       *ingress.Controller
	ingressEvents *loadbalancer.Recorder
	// claims is what the cluster has once for claims to directories of its nodes.
	claims *claims.Controller
	roles  *roles
	images *image.Store
	// unused removes images that nobody uses, and evicting, of capacity 1, has one
	// node at a time evict a Pod for what the nodes share.
	unused   *image.Collector
	evicting chan struct{}
	nodes    nodeSet
	parts    *supervise.Group
	use      *partuse.Meter
	slack    *slack.Keeper
	// controlPart are the parts of the control plane that were started again.
	controlPart failures
	limits      *limit.Budget // of the connections that the process accepts
	gate        *oci.Gate     // of the containers that nodes start

	ready      atomic.Bool
	renewed    chan struct{}      // holds something when certificates were renewed
	restarting chan func()        // start the server or etcd again
	downing    chan time.Duration // holds the longest grace of a Pod when `down` was asked for
	stop       context.CancelCauseFunc
}

// hostResolvConf lists the machine's resolvers, at which names outside of the
// cluster are looked up.
const hostResolvConf = "/etc/resolv.conf"

// ServerOptions say how a Server runs.
type ServerOptions struct {
	// Began is when the process started.
	Began time.Time
	// Progress gets the stages of the start, and is closed when the start has
	// succeeded or failed; nil if nobody waits for it.
	Progress io.WriteCloser
	// Keep has the process started again when it ends unexpectedly.
	Keep   bool
	Logger *slog.Logger
}

// NewServer prepares a server for an existing cluster's configuration.
func NewServer(cfg Config, o ServerOptions) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg, paths: Paths{Name: cfg.Name}, log: o.Logger, progress: newProgress(o.Began, o.Progress),
		began: o.Began, kept: o.Keep, gate: oci.NewGate(), slack: slack.New(o.Logger.With("part", "slack")), started: make(chan struct{}),
		downing: make(chan time.Duration, 1), restarting: make(chan func(), 2),
		renewed: make(chan struct{}, 1),
	}, nil
}

// Run starts everything and blocks until ctx ends or a part fails. Containers
// and forwarding outlive it, unless it is ended by `down`.
func (s *Server) Run(ctx context.Context) error {
	heap.Pace()
	err := s.run(ctx)
	if err != nil {
		s.progress.report(Event{Error: err.Error()})
	}
	return err
}

func (s *Server) run(ctx context.Context) (err error) {
	lock, err := acquireLock(s.paths)
	if err != nil {
		return err
	}
	defer lock.Close()
	if s.limits, err = s.newLimits(); err != nil {
		return err
	}
	listeners, err := s.adoptListeners(ctx)
	if err != nil {
		s.log.Warn("the API server's listening sockets cannot be taken over from the earlier server; new ones are opened", "error", err)
	}
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	// The ports are opened first, so that one in use is reported before
	// anything is changed.
	adopted := len(listeners) > 0
	if !adopted {
		loopback, err := listenAPI(ctx, s.cfg.Loopback(), s.cfg.APIPort)
		if err != nil {
			return err
		}
		listeners = append(listeners, loopback)
	}
	if s.lan, err = openLAN(s.cfg); err != nil {
		return err
	}
	defer s.lan.close()
	began := time.Now()
	if err := s.lan.up(); err != nil {
		return err
	}
	s.progress.stage("lan", began)
	for _, gateway := range s.cfg.Gateways() {
		if adopted {
			break
		}
		onLAN, err := listenAPI(ctx, gateway, s.cfg.APIPort)
		if err != nil {
			return err
		}
		listeners = append(listeners, onLAN)
	}
	ctx, s.stop = context.WithCancelCause(ctx)
	defer s.stop(nil)
	return s.runParts(ctx, listeners)
}

// runParts runs the control plane, the nodes and the socket side by side: the
// nodes make their namespaces and load their programs while etcd and the API
// server start.
func (s *Server) runParts(ctx context.Context, listeners []net.Listener) error {
	if err := s.assemble(listeners); err != nil {
		return err
	}
	// When the server ends, the nodes, which are clients of the API, stop
	// before the API does. A control plane that fails ends the process, and the
	// keeper or the service manager starts it again.
	apiCtx, stopAPI := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAPI()
	var api errgroup.Group
	api.Go(func() error {
		err := s.control.Run(apiCtx)
		if err != nil {
			s.stop(fmt.Errorf("control plane: %w", err))
		}
		return err
	})
	parts := []supervise.Part{
		{Name: "control-socket", Run: s.serveSocket},
		{Name: "routes", Run: podnet.NewRouter(podnet.RouterConfig{
			Netns: host.Netns{}, Link: s.paths.Bridge(), Sources: s.cfg.Gateways(),
			Nodes:  s.watch.Nodes().Informer(),
			Logger: s.log.With("part", "routes"),
		}).Run},
		{Name: "load-balancer", Run: s.balancer.Run},
		{Name: "load-balancer-events", Run: s.balancerEvents.Run},
		{Name: "ingress", Run: s.controlIngresses},
		{Name: "ingress-events", Run: s.ingressEvents.Run},
		{Name: "claims", Run: s.controlClaims},
		{Name: "unused-images", Run: s.unused.Run},
		{Name: "load-balancer-routes", Run: s.addressRoutes().run},
		{Name: "node-roles", Run: s.roles.run},
		{Name: "component-endpoints", Run: s.serveComponents},
		{Name: "config-maps", Run: s.keepInfoMaps},
		{Name: "certificates", Run: s.followCertificates},
		{Name: "clock", Run: s.followClock},
		{Name: "oom-kills", Run: s.followOOMKills},
		{Name: "start", Run: s.finishStart},
		{Name: "node-removals", Run: s.finishRemovals},
		{Name: "down", Run: s.awaitDown},
		{Name: "shutdown", Run: s.holdShutdowns},
		{Name: "log", Run: s.rotateLog},
		{Name: "slack", Run: s.beIdle},
		{Name: "restart", Run: s.restartParts},
		{Name: "keeper", Run: func(ctx context.Context) error { return s.keep(ctx, listeners) }},
	}
	parts = append(parts, s.watch.Parts()...)
	s.nodes.ctx = ctx
	for _, n := range s.running() {
		s.begin(n)
	}
	s.parts.Run(ctx, parts...)
	s.nodes.runs.Wait()
	stopAPI()
	err := api.Wait()
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// assemble puts together what runParts runs.
func (s *Server) assemble(listeners []net.Listener) (err error) {
	if s.control, err = controlplane.New(s.controlPlaneConfig(listeners)); err != nil {
		return err
	}
	s.control.PKI().OnRenewal(s.certificatesRenewed)
	if s.client, err = kubernetes.NewForConfig(s.control.RESTConfig(access.UserStatus)); err != nil {
		return err
	}
	if s.nodesClient, err = kubernetes.NewForConfig(s.control.RESTConfig(access.UserNodes)); err != nil {
		return err
	}
	s.watch, err = member.NewWatch(member.WatchConfig{
		Connect: s.control.RESTConfig, ClusterDomain: s.cfg.ClusterDomain, ClusterDNS: s.cfg.DNSIPs(),
		Owned: slices.Concat(s.cfg.ServiceCIDR, s.cfg.PodCIDR), Pool: s.cfg.Pool(),
		Started: s.started, Found: s.found, Served: s.served, Logger: s.log,
	})
	if err != nil {
		return err
	}
	if err := s.assembleBalancer(); err != nil {
		return err
	}
	if err := s.assembleIngress(); err != nil {
		return err
	}
	if err := s.assembleClaims(); err != nil {
		return err
	}
	if s.roles, err = s.newRoles(); err != nil {
		return err
	}
	if s.images, err = image.Open(s.paths.Store()); err != nil {
		return err
	}
	if err := s.newCollector(); err != nil {
		return err
	}
	s.evicting = make(chan struct{}, 1)
	s.nodes.list = s.cfg.NodeList
	for _, spec := range s.cfg.NodeSpecs() {
		if !spec.Stopped && !spec.Removing {
			s.nodes.running = append(s.nodes.running, newNode(s, spec))
		}
	}
	s.use = s.newMeter()
	s.parts = supervise.New(supervise.Config{Logger: s.log, Changed: s.partChanged})
	return nil
}

// partChanged ends the server if a part fails during a start that `up` waits
// for, so that `up` can report why. Later, or if nobody waits, the part is just
// started again.
func (s *Server) partChanged(state supervise.State) {
	if state.Phase == supervise.Failed && s.progress.followed() {
		s.stop(errors.New(state.Error))
	}
}

// descriptors is how many files the server should have open at most. Containers
// have a limit of their own.
const descriptors = 65536

// newLimits bounds the connections of all listeners of the process.
func (s *Server) newLimits() (*limit.Budget, error) {
	have, err := host.RaiseDescriptors(descriptors)
	if err != nil {
		s.log.Warn("The limit of open files cannot be raised", "limit", have, "error", err)
	}
	var gateways []netip.Prefix
	for _, ip := range s.cfg.Gateways() {
		gateways = append(gateways, netip.PrefixFrom(ip, ip.BitLen()))
	}
	return limit.New(limit.Config{Descriptors: have, Machine: gateways, Nodes: s.cfg.LAN, Hosts: s.cfg.PodCIDR, Logger: s.log.With("part", "limits")})
}

func (s *Server) controlPlaneConfig(listeners []net.Listener) controlplane.Config {
	return controlplane.Config{
		Name:             s.cfg.Name,
		DataDir:          s.paths.ControlPlane(s.cfg.Ephemeral),
		RunDir:           s.paths.Run(),
		Ephemeral:        s.cfg.Ephemeral,
		EtcdServers:      s.cfg.EtcdServers,
		EtcdCAFile:       s.cfg.EtcdCAFile,
		EtcdCertFile:     s.cfg.EtcdCertFile,
		EtcdKeyFile:      s.cfg.EtcdKeyFile,
		Listeners:        listeners,
		Limits:           s.limits,
		Working:          s.slack.Work,
		Addresses:        s.cfg.Gateways(),
		ServiceCIDRs:     s.cfg.ServiceCIDR,
		PodCIDRs:         s.cfg.PodCIDR,
		NodeCIDRMaskIPv4: nodeBitsIPv4,
		NodeCIDRMaskIPv6: nodeBitsIPv6,
		ClusterDomain:    s.cfg.ClusterDomain,
		OldAPIs:          s.cfg.OldAPIs,
		RuntimeHandlers:  s.cfg.handlers(),
		Started:          s.started,
		PartFailed:       s.controlPart.failed,
		Stage:            func(name string, took time.Duration) { s.progress.stage(name, time.Now().Add(-took)) },
		Logger:           s.log.With("part", "controlplane"),
	}
}

// finishStart reports the cluster as ready once it is.
func (s *Server) finishStart(ctx context.Context) error {
	if err := s.writeAdminKubeconfig(); err != nil {
		return err
	}
	for _, n := range s.running() {
		if err := n.waitReady(ctx); err != nil {
			return err
		}
	}
	s.progress.stage("nodes Ready", s.began)
	for _, n := range s.running() {
		if m := n.current.Load(); m != nil {
			if err := m.WaitDNS(ctx); err != nil {
				return err
			}
		}
	}
	s.progress.stage("DNS answers on every node", s.began)
	s.ready.Store(true)
	close(s.started)
	s.progress.report(Event{Ready: true})
	s.log.Info("the cluster is ready", "nodes", len(s.running()), "after", time.Since(s.began).Round(time.Millisecond))
	return s.settle(ctx)
}

// beIdle lets the process be idle once the start is over, which is work.
func (s *Server) beIdle(ctx context.Context) error {
	select {
	case <-s.started:
		return s.slack.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// settleAfter are the times at which a start's last background work is over: that
// of the nodes and controllers, and that of the API server with the kinds that it
// got after its start.
var settleAfter = []time.Duration{5 * time.Second, 7 * time.Second}

// settle gives back the memory that only the start needed.
func (s *Server) settle(ctx context.Context) error {
	for _, pause := range settleAfter {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		debug.FreeOSMemory()
		if err := host.ReleaseProgramPages(); err != nil {
			s.log.Warn("memory of the program's pages that only the start needed could not be given back", "err", err)
		}
	}
	return nil
}

func (s *Server) writeAdminKubeconfig() error {
	data, err := s.control.PKI().Kubeconfig(s.cfg.Server(), s.cfg.ContextName())
	if err != nil {
		return err
	}
	return writeFile(s.paths.Kubeconfig(), data, 0o600)
}

// serveSocket answers `status` and `down`.
func (s *Server) serveSocket(ctx context.Context) error {
	os.Remove(s.paths.Socket()) // left by a killed server; none runs, since this one has the lock
	l, err := host.Netns{}.Listen(ctx, "unix", s.paths.Socket())
	if err != nil {
		return fmt.Errorf("open the control socket: %w", err)
	}
	if err := os.Chmod(s.paths.Socket(), 0o600); err != nil {
		return err
	}
	srv := &http.Server{Handler: controlHandler(s.status, s.down, s.handleInspection, s.handleWithdrawal, s.handleNodes), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

// down has the Pods ended, each with its own grace period but limit at most,
// and then the server.
func (s *Server) down(limit time.Duration) {
	select {
	case s.downing <- limit:
	default: // it is under way
	}
}

// awaitDown ends Pods, and then the server, when that is asked for.
func (s *Server) awaitDown(ctx context.Context) error {
	var limit time.Duration
	select {
	case limit = <-s.downing:
	case <-ctx.Done():
		return nil
	}
	var nodes errgroup.Group
	for _, n := range s.running() {
		if m := n.current.Load(); m != nil {
			nodes.Go(func() error { return m.EndPods(ctx, limit) })
		}
	}
	if err := nodes.Wait(); err != nil {
		s.log.Warn("some Pods did not end within their grace periods and will be killed", "error", err)
	}
	s.withdraw(ctx)
	s.stop(nil)
	return nil
}

func (s *Server) status() Status {
	st := describe(s.cfg)
	st.Running, st.Ready, st.PID = true, s.ready.Load(), os.Getpid()
	st.Server = s.cfg.Server()
	st.StartedAt, st.Stages = s.began, s.progress.all()
	if n := len(st.Stages); st.Ready && n > 0 {
		st.ReadyAfter = st.Stages[n-1].At.Round(time.Millisecond).String()
	}
	st.MemoryBytes = residentMemory(os.Getpid())
	if pids, err := s.paths.Cgroup().Procs(); err == nil {
		for _, pid := range pids {
			if isMonitor(pid) {
				st.MemoryBytes += residentMemory(pid)
			}
		}
	}
	st.Parts = append(s.parts.States(), s.controlPart.states()...)
	st.Nodes = s.nodeStatuses()
	return st
}
