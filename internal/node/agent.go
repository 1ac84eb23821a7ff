package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/kubernetes/pkg/kubelet/sysctl"

	"minato/internal/host"
	"minato/internal/node/admit"
	"minato/internal/node/allocation"
	"minato/internal/node/api"
	"minato/internal/node/credentialprovider"
	"minato/internal/node/csi"
	"minato/internal/node/device"
	"minato/internal/node/dra"
	"minato/internal/node/mirror"
	"minato/internal/node/object"
	"minato/internal/node/plugins"
	"minato/internal/node/pod"
	"minato/internal/node/podresources"
	"minato/internal/node/pressure"
	"minato/internal/node/probe"
	"minato/internal/node/report"
	"minato/internal/node/settings"
	"minato/internal/node/spec"
	"minato/internal/node/static"
	"minato/internal/node/storage"
	measure "minato/internal/node/usage"
	"minato/internal/node/volume"
)

// Agent is one node.
type Agent struct {
	cfg   Config
	ready chan struct{}
	// Our own container runtime tells these, others don't.
	cgroups    measure.Cgroups
	interfaces api.Interfaces
	operations *operations
	syncs      *syncs
	starts     *starts
	endings    *endings

	broadcaster record.EventBroadcaster
	events      record.EventRecorder
	pods        *pod.Manager
	probes      *probe.Manager
	probeCounts *probe.Metrics
	objects     *object.Store
	writer      *report.Writer
	watch       *podWatch
	mirrors     *mirror.Keeper
	statics     *static.Manager // nil: there are none
	storage     *storage.Manager
	pressure    *pressure.Manager
	volumes     *volume.Manager
	drivers     *csi.Manager // nil: the node has no directory for plugins
	plugins     *plugins.Watcher
	// devices, claims and resources are nil where drivers is.
	claims    *dra.Manager
	devices   *device.Manager
	resources *podresources.Server
	node      *nodeStatus
	fresh     *fresh
	// assembled is closed once the fields above are set.
	assembled chan struct{}
}

// New puts an agent together. It starts nothing and touches nothing.
func New(cfg Config) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("node %s: %w", cfg.Name, err)
	}
	a := &Agent{cfg: cfg, operations: newOperations(), syncs: newSyncs(), ready: make(chan struct{}), assembled: make(chan struct{})}
	a.cgroups, _ = cfg.Runtime.(measure.Cgroups)
	a.interfaces, _ = cfg.Runtime.(api.Interfaces)
	a.cfg.Runtime, a.cfg.Images = countedRuntime{cfg.Runtime, a.operations}, countedImages{cfg.Images, a.operations}
	a.broadcaster = record.NewBroadcaster()
	a.events = a.broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: cfg.Name})
	a.writer = report.New(report.Config{Client: cfg.Client, Logger: cfg.Logger})
	a.starts = newStarts(reporter{a})
	a.endings = newEndings(a.starts)
	a.objects = object.New(object.Config{
		Client: cfg.Client, Logger: cfg.Logger,
		Changed: func(uid uid) { a.pods.Refresh(uid) },
	})
	a.probeCounts = probe.NewMetrics()
	a.probes = probe.New(probe.Config{
		Metrics: a.probeCounts,
		Exec:    cfg.Runtime, Dial: cfg.Netns.DialContext, Events: a.events, Logger: cfg.Logger,
		Changed: func(uid uid) { a.pods.Wake(uid) },
	})
	return a, nil
}

// Ready is closed once the node is registered and says that it is ready.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run is the node until ctx ends. Containers keep running afterwards; a later
// agent of the same name and directory finds them.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.assemble(ctx); err != nil {
		return fmt.Errorf("node %s: %w", a.cfg.Name, err)
	}
	defer a.fresh.wait()
	sink := a.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.cfg.Client.CoreV1().Events("")})
	defer a.broadcaster.Shutdown()
	defer sink.Stop()
	listener, err := a.cfg.Netns.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(a.cfg.APIPort)))
	if err != nil {
		return fmt.Errorf("node %s: listen for the node API: %w", a.cfg.Name, err)
	}
	defer listener.Close()

	g, ctx := errgroup.WithContext(ctx)
	server := a.apiServer()
	g.Go(func() error { return server.Serve(ctx, listener) })
	g.Go(func() error { return a.writeFiles(ctx, server.Configuration) })
	g.Go(func() error { return a.node.run(ctx, a.markReady) })
	g.Go(func() error { return runLease(ctx, &a.cfg, a.ready) })
	g.Go(func() error { a.writer.Run(ctx); return nil })
	g.Go(func() error { return a.runPods(ctx) })
	g.Go(func() error { return a.runPlugins(ctx) })
	err = g.Wait()
	a.probes.Close()
	a.objects.Close()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// EndPods stops the containers of all Pods, as when a machine is shut down: all
// side by side, or by their priorities if the settings say so, with their preStop
// hooks, each Pod with its own grace period but with limit at most, and that of
// its priority. A later agent starts again what should run.
//
// It may be called while Run runs, which starts no container afterwards, or
// when Run has returned. ctx bounds it all.
func (a *Agent) EndPods(ctx context.Context, limit time.Duration) error {
	select {
	case <-a.assembled:
	default:
		return nil // no Pod was ever served
	}
	limits, group := shutdownGroups(a.cfg.Settings, limit)
	if err := a.pods.EndAll(ctx, limits, group); err != nil {
		return fmt.Errorf("node %s: end pods: %w", a.cfg.Name, err)
	}
	return nil
}

// shutdownGroups are how long Pods have to end in, and which have how long. All
// groups together have limit at most.
func shutdownGroups(s settings.Values, limit time.Duration) (limits []time.Duration, group func(*v1.Pod) int) {
	for _, p := range s.Shutdown {
		d := min(limit, time.Duration(p.ShutdownGracePeriodSeconds)*time.Second)
		limits, limit = append(limits, d), limit-d
	}
	if len(limits) == 0 {
		return []time.Duration{limit}, func(*v1.Pod) int { return 0 }
	}
	return limits, func(p *v1.Pod) int {
		if p.Spec.Priority == nil {
			return s.ShutdownGroup(0)
		}
		return s.ShutdownGroup(*p.Spec.Priority)
	}
}

// Evict ends a Pod that the node can no longer keep, as Failed with that reason
// and message. It returns false where the node does not run the Pod.
func (a *Agent) Evict(uid types.UID, reason, message string) bool {
	select {
	case <-a.assembled:
		return a.pods.Evict(uid, reason, message)
	default:
		return false
	}
}

// LookAtParts tells that the state of one of Config.Parts may have changed.
func (a *Agent) LookAtParts() {
	select {
	case <-a.assembled:
		a.mirrors.Look()
	default:
	}
}

// OutOfMemory records the kubelet's event about a node that has run out of memory,
// and about the process that the kernel has ended for it.
func (a *Agent) OutOfMemory(process string, pid int) {
	select {
	case <-a.assembled:
		a.node.events.Eventf(a.node.reference(), v1.EventTypeWarning, "SystemOOM", "System OOM encountered, victim process: %s, pid: %d", process, pid)
	default:
	}
}

// ClockWasSet has all Pods looked at again, with the tokens that they have: what
// waits for a date does so by a timer, which knows nothing of dates.
func (a *Agent) ClockWasSet() {
	select {
	case <-a.assembled:
		a.pods.RefreshAll()
	default:
	}
}

// processName tells this process from all others that the node was ever in.
func processName() string {
	// The kernel counts in clock ticks since it started, so the number and the start
	// of the machine belong to it.
	boot := strings.ReplaceAll(readLine("/proc/sys/kernel/random/boot_id"), "-", "")
	started := "0"
	if f := strings.Fields(afterName(readLine("/proc/self/stat"))); len(f) > 19 {
		started = f[19] // field 22 of proc_pid_stat(5), of which two are cut off
	}
	return fmt.Sprintf("%.8s-%d-%s", boot, os.Getpid(), started)
}

// afterName is a line of /proc/PID/stat from the third field on.
func afterName(stat string) string { return stat[strings.LastIndexByte(stat, ')')+1:] }

func (a *Agent) markReady() {
	close(a.ready)
	a.cfg.Stage("node " + a.cfg.Name + " ready")
}

// assemble makes the parts that need to know the container runtime's version.
func (a *Agent) assemble(ctx context.Context) error {
	version, err := a.cfg.Runtime.Version(ctx, "v1")
	if err != nil {
		return fmt.Errorf("ask the container runtime for its version: %w", err)
	}
	if err := a.cfg.makeDirs(); err != nil {
		return err
	}
	if err := a.cfg.measureDisk(); err != nil {
		return err
	}
	// Which sysctls are a Pod's own depends on the kernel's version.
	sysctls, err := admit.NewSysctls(sysctl.SafeSysctlAllowlist(ctx), a.cfg.AllowedUnsafeSysctls)
	if err != nil {
		return fmt.Errorf("AllowedUnsafeSysctls: %w", err)
	}
	a.node = newNodeStatus(&a.cfg, version, a.events)
	a.fresh = newFresh(ctx, &a.cfg)
	if err := a.assemblePlugins(); err != nil {
		return err
	}
	volumes := volume.Config{
		Dir: a.cfg.podsDir(), MemoryDir: a.cfg.memoryDir(),
		Objects: a.objects.Volumes(), Claims: a.objects, NodeLabels: a.nodeLabels, Tokens: tokens{a}, Mounter: a.cfg.Mounter, Root: a.cfg.MountNS.Root(), Allocatable: a.cfg.podDefaults,
	}
	if a.drivers != nil {
		volumes.Drivers = a.drivers
	}
	a.volumes = volume.New(volumes)
	allocations, err := allocation.Open(a.cfg.allocationDir(), a.cfg.Logger)
	if err != nil {
		return err
	}
	providers, err := a.newProviders()
	if err != nil {
		return err
	}
	var devices pod.Devices
	var claims pod.Claims
	if a.devices != nil {
		devices, claims = a.devices, a.claims
	}
	a.pods = pod.New(pod.Config{
		Devices: devices, Claims: claims,
		NodeName: a.cfg.Name, Node: a.fresh.node, RuntimeName: version.RuntimeName, HostIPs: a.cfg.hostIPs(),
		Runtime: a.cfg.Runtime, Images: a.cfg.Images,
		Volumes: a.volumes, Allocations: allocations, Users: a.cfg.Users, Objects: a.objects, Pulls: a.cfg.Settings.Pulls,
		Probes: a.probes, Reporter: a.endings, Providers: providers, Measures: a.syncs,
		Services: a.fresh.servicesFor, RuntimeClass: a.fresh.runtimeClass,
		Admission: admit.Options{Sysctls: sysctls, AppArmor: host.AppArmor(), OwnPorts: a.cfg.OwnPorts},
		Resolver:  newResolver(&a.cfg).get,
		HostsFile: func() string {
			text, err := os.ReadFile(a.cfg.HostsFile)
			if err != nil {
				a.cfg.Logger.Warn("the node's hosts file cannot be read", "path", a.cfg.HostsFile, "error", err)
			}
			return string(text)
		},
		CgroupParent: a.cfg.Cgroup.Path, LogDir: a.cfg.logDir(), LogLinks: newLogLinks(&a.cfg), OpenLog: a.cfg.openLog,
		Allocatable: a.cfg.podDefaults, Memory: a.cfg.Capacity[v1.ResourceMemory], HugePages: a.cfg.hugePageSizes(),
		Dial: a.cfg.Netns.DialContext, Events: a.events, Logger: a.cfg.Logger,
	})
	a.mirrors = mirror.New(mirror.Config{
		NodeName: a.cfg.Name, HostIPs: a.cfg.hostIPs(), Client: a.cfg.Client, Node: a.fresh.node, Pods: a.cfg.Pods.GetStore(),
		Parts: a.cfg.Parts, After: a.cfg.PartsAfter, Process: processName(), Reporter: a.writer, Events: a.events, Logger: a.cfg.Logger,
	})
	if a.cfg.FilesDir != "" && a.cfg.DecodePod != nil {
		a.statics = static.New(static.Config{
			Root: a.cfg.FilesDir, Decode: a.cfg.DecodePod, Pods: a.pods, Shown: a.mirrors, Logger: a.cfg.Logger,
		})
		if err := a.statics.Prepare(); err != nil {
			a.cfg.Logger.Warn("the directory of static Pods can't be made", "error", err)
		}
	}
	a.watch = newPodWatch(&a.cfg, a.pods, a.mirrors, a.statics)
	a.storage = storage.New(storage.Config{
		Pods: a.watch.Pods, Evictor: a.pods, Runtime: a.cfg.Runtime, Volumes: a.volumes,
		LogDir: a.cfg.logDir(), Logger: a.cfg.Logger,
	})
	a.pressure = a.newPressure()
	a.node.pressure = a.pressure.Conditions
	a.fresh.pressure = a.pressure.Conditions
	if _, err := a.pressure.Look(ctx); err != nil {
		a.cfg.Logger.Warn("something of what the node has left cannot be measured, and counts as sufficient", "error", err)
	}
	collectors := []prometheus.Collector{newCollector(a.cfg.Name, a.watch.Pods, a.volumes.ClaimStats), a.operations, a.syncs, a.starts.took, a.endings.total}
	if a.devices != nil {
		collectors = append(collectors, a.devices)
	}
	for _, c := range collectors {
		if err := a.cfg.Metrics.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	close(a.assembled)
	return nil
}

// nodeLabels are the labels that the Node has now.
func (a *Agent) nodeLabels(ctx context.Context) (map[string]string, error) {
	n, err := a.fresh.node(ctx)
	if err != nil {
		return nil, err
	}
	return n.Labels, nil
}

func (a *Agent) apiServer() *api.Server {
	return api.New(api.Config{
		Cgroups: a.cgroups, Cgroup: a.cfg.Cgroup, Interfaces: a.interfaces, Volumes: a.volumes, Images: a.cfg.Images,
		Netns: a.cfg.Netns, Dir: a.cfg.Dir, StorageLimit: a.cfg.StorageLimit, StorageUsed: a.storageUsed, Capacity: a.cfg.Capacity, System: a.node.info(), Probes: a.probeCounts,
		NodeName: a.cfg.Name, Client: a.cfg.Client, Runtime: a.cfg.Runtime, Streaming: a.cfg.Streaming,
		Pods: a.watch, Part: a.mirrors.Part, Parts: a.partUsage, LogDir: a.cfg.logDir(), OpenLog: a.cfg.openLog, LogRoot: filepath.Dir(a.cfg.logDir()),
		Cert: a.cfg.ServingCert, ClientCA: a.cfg.ClientCA, Certificates: a.cfg.Certificates,
		Configuration: a.cfg.kubelet, Limits: a.cfg.Limits,
		Metrics: a.cfg.Metrics, Logger: a.cfg.Logger,
	})
}

// runPods runs the workers, and feeds them with Pods and container events.
func (a *Agent) runPods(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	started := make(chan struct{})
	g.Go(func() error { a.pods.Run(ctx, func() { close(started) }); return nil })
	<-started
	g.Go(func() error { return a.forward(ctx) })
	g.Go(func() error { return a.watch.run(ctx) })
	if a.statics != nil {
		g.Go(func() error { return a.statics.Run(ctx) })
	}
	g.Go(func() error { return a.storage.Run(ctx) })
	g.Go(func() error { return a.pressure.Run(ctx) })
	g.Go(func() error { return keepLogLinks(ctx, newLogLinks(&a.cfg), a.cfg.Runtime, a.cfg.Logger) })
	how := rotation{size: a.cfg.Settings.LogSize, kept: a.cfg.Settings.LogFiles - 1, period: a.cfg.Settings.LogInterval}
	g.Go(func() error { return rotateLogs(ctx, how, a.cfg.Runtime, a.cfg.logDir(), a.cfg.Logger) })
	return g.Wait()
}

// forward hands the runtime's events to the workers.
func (a *Agent) forward(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-a.cfg.Events:
			if !ok {
				return eventsEnded(ctx)
			}
			a.pods.Happened(e)
		}
	}
}

// eventsEnded is called when the container runtime closes its channel of events.
// That is an error unless ctx ends too, which the agent may notice a moment later.
func eventsEnded(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(time.Second):
		return errors.New("the container runtime sends no more events")
	}
}

// reporter tells the API server about Pods: about those that come from it by their
// status, and about static Pods by that of their mirror Pods.
type reporter struct{ a *Agent }

// Set implements pod.Reporter.
func (r reporter) Set(pod *v1.Pod, status v1.PodStatus) {
	if r.a.static(pod) {
		r.a.mirrors.SetStatus(pod, status)
		return
	}
	r.a.writer.Set(pod, status)
}

// Finish implements pod.Reporter.
func (r reporter) Finish(pod *v1.Pod, status v1.PodStatus) {
	if r.a.static(pod) {
		r.a.statics.Finished(pod)
		return
	}
	r.a.writer.Finish(pod, status)
}

// Forget implements pod.Reporter.
func (r reporter) Forget(uid types.UID) { r.a.writer.Forget(uid) }

func (a *Agent) static(pod *v1.Pod) bool { return a.statics != nil && a.statics.Owns(pod.UID) }

// tokens asks the API server for tokens of service accounts.
type tokens struct{ a *Agent }

// Token implements volume.Tokens.
func (t tokens) Token(ctx context.Context, namespace, account string, req *authv1.TokenRequest) (*authv1.TokenRequest, error) {
	return t.a.cfg.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, req, metav1.CreateOptions{})
}

// ServiceAccount implements credentialprovider.Accounts.
func (t tokens) ServiceAccount(ctx context.Context, namespace, name string) (*v1.ServiceAccount, error) {
	return t.a.cfg.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
}

// newProviders returns the node's credential providers, or nil.
func (a *Agent) newProviders() (pod.Providers, error) {
	if a.cfg.CredentialProviderConfig == "" {
		return nil, nil
	}
	return credentialprovider.New(credentialprovider.Config{
		Path: a.cfg.CredentialProviderConfig, BinDir: a.cfg.CredentialProviderBinDir, Accounts: tokens{a},
	})
}

// resolver reads the node's resolv.conf when it has changed.
type resolver struct {
	cfg *Config

	mu   sync.Mutex
	at   time.Time
	last spec.Resolver
}

func newResolver(cfg *Config) *resolver {
	return &resolver{cfg: cfg, last: spec.Resolver{Servers: cfg.ClusterDNS, Domain: cfg.ClusterDomain}}
}

func (r *resolver) get() spec.Resolver {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.cfg.ResolvConf)
	if err != nil {
		return r.last // what was read before still serves
	}
	if info.ModTime().Equal(r.at) {
		return r.last
	}
	text, err := os.ReadFile(r.cfg.ResolvConf)
	if err != nil {
		r.cfg.Logger.Warn("the node's resolv.conf cannot be read", "path", r.cfg.ResolvConf, "error", err)
		return r.last
	}
	r.at, r.last.Node = info.ModTime(), spec.ParseResolvConf(string(text))
	return r.last
}
