package loadbalancer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

// reporter takes what nodes announce. Nothing waits for the API.
type reporter interface {
	// begin says that a node starts to tell. Until it has settled, objects of which it did not tell stay.
	begin(kind, node string)
	// want says what is to be in the API about a Service that a node announces; nil is that it does not.
	want(kind, node string, service types.NamespacedName, r *report)
	settled(kind, node string)
}

type noReports struct{}

func (noReports) begin(string, string)                               {}
func (noReports) want(string, string, types.NamespacedName, *report) {}
func (noReports) settled(string, string)                             {}

// report is what one object says, besides the names of the node and the Service.
type report struct {
	// fields are of the status, in the form of unstructured objects.
	fields map[string]any
	// owner is the UID of the Node, with which the object goes.
	owner types.UID
	// alive are the nodes that are heard, nil if that is not known. Those that aren't can't take back what they reported of
	// the Service. It is not changed any more.
	alive map[string]bool
}

// reportKey names a report.
type reportKey struct {
	kind, node string
	service    types.NamespacedName
}

// ReportsConfig says where Reports are written.
type ReportsConfig struct {
	Dynamic dynamic.Interface
	// Pressure is what reports give way to; nil for nothing.
	Pressure *Pressure
	Logger   *slog.Logger
}

// Reports writes the objects that tell which node announces what: ServiceL2Status and ServiceBGPStatus. All nodes of a
// process share one. Objects that exist already are taken over. It never has more than a few requests under way, and waits
// between them, so that thousands of Services which move at once are no load to the API server.
type Reports struct {
	log    *slog.Logger
	kinds  map[string]*kind
	client dynamic.Interface
	// pressure and limit are what a request waits for.
	pressure *Pressure
	limit    *rate.Limiter

	mu    sync.Mutex
	wants map[reportKey]*report
	told  map[nodeKind]bool // nodes that tell, and whether they have told of all
	made  map[reportKey]*madeReport
	queue workqueue.TypedRateLimitingInterface[reportKey] // nil while Run does not run
	// failing says that the last request failed.
	failing bool
}

type nodeKind struct{ kind, node string }

// madeReport is an object that was made, and that the watch may not have shown yet.
type madeReport struct {
	object *unstructured.Unstructured
	at     time.Time
}

const (
	reportWriters = 2
	reportsEach   = 50 // requests a second
	// reportDelay is how long a report waits for another one that takes its place.
	reportDelay      = 200 * time.Millisecond
	firstReportRetry = 500 * time.Millisecond
	lastReportRetry  = time.Minute
	// madeFor is how long the watch has time to show an object that was made.
	madeFor = 30 * time.Second
)

// Names of indexes.
const (
	indexNode    = "node"
	indexService = "service"
)

// NewReports checks cfg. It starts nothing.
func NewReports(cfg ReportsConfig) (*Reports, error) {
	if cfg.Dynamic == nil {
		return nil, errors.New("reports of load balancing: a Dynamic client is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Reports{
		log: cfg.Logger, client: cfg.Dynamic, kinds: map[string]*kind{}, pressure: cfg.Pressure, limit: rate.NewLimiter(reportsEach, reportsEach),
		wants: map[reportKey]*report{}, told: map[nodeKind]bool{}, made: map[reportKey]*madeReport{},
	}
	for name, resource := range reportKinds() {
		r.kinds[name] = &kind{
			name: name, resource: resource, client: cfg.Dynamic, log: cfg.Logger, namespace: config.Namespace,
			meanwhile: "which nodes announce a Service is not reported",
			changed:   func() { r.lookAtAll(name) },
			each:      func(u *unstructured.Unstructured, gone bool) { r.seen(name, u, gone) },
			indexers: cache.Indexers{
				indexNode:    func(o any) ([]string, error) { return []string{label(o, metallb.LabelNode)}, nil },
				indexService: func(o any) ([]string, error) { return []string{serviceOf(o).String()}, nil },
			},
		}
	}
	return r, nil
}

// reportKinds are the kinds of reports.
func reportKinds() map[string]schema.GroupVersionResource {
	v1beta1 := schema.GroupVersion{Group: metallb.Group, Version: "v1beta1"}
	return map[string]schema.GroupVersionResource{
		metallb.KindServiceL2Status:  v1beta1.WithResource("servicel2statuses"),
		metallb.KindServiceBGPStatus: v1beta1.WithResource("servicebgpstatuses"),
	}
}

func label(o any, name string) string {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.GetLabels()[name]
	}
	return ""
}

// serviceOf is the Service that a report is about.
func serviceOf(o any) types.NamespacedName {
	return types.NamespacedName{Namespace: label(o, metallb.LabelServiceNamespace), Name: label(o, metallb.LabelServiceName)}
}

// begin implements reporter.
func (r *Reports) begin(kind, node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.wants {
		if key.kind == kind && key.node == node {
			delete(r.wants, key)
		}
	}
	r.told[nodeKind{kind, node}] = false
}

// want implements reporter.
func (r *Reports) want(kind, node string, service types.NamespacedName, want *report) {
	if len(validation.IsValidLabelValue(node)) > 0 {
		return // a long name, by which objects can't be found again
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := reportKey{kind, node, service}
	if r.wants[key] = want; want == nil {
		delete(r.wants, key)
	}
	r.lookAt(key)
}

// settled implements reporter.
func (r *Reports) settled(kind, node string) {
	r.mu.Lock()
	r.told[nodeKind{kind, node}] = true
	r.mu.Unlock()
	r.lookAtAll(kind)
}

// lookAt has a report brought up to date. The caller holds mu.
func (r *Reports) lookAt(key reportKey) {
	if r.queue != nil {
		r.queue.AddAfter(key, reportDelay)
	}
}

// lookAtAll has all reports of a kind brought up to date, with those that exist and should not.
func (r *Reports) lookAtAll(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.wants {
		if key.kind == kind {
			r.lookAt(key)
		}
	}
	for of := range r.told {
		if of.kind != kind {
			continue
		}
		for _, u := range r.kinds[kind].indexed(indexNode, of.node) {
			r.lookAt(reportKey{kind, of.node, serviceOf(u)})
		}
	}
}

// seen is called for an object that the watch shows.
func (r *Reports) seen(kind string, u *unstructured.Unstructured, gone bool) {
	key := reportKey{kind, label(u, metallb.LabelNode), serviceOf(u)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.made[key]; m != nil && m.object.GetName() == u.GetName() {
		delete(r.made, key)
	}
	if _, ours := r.told[nodeKind{kind, key.node}]; ours && (gone || r.wants[key] == nil || !r.wants[key].is(key, u)) {
		r.lookAt(key)
	}
}

// Run writes reports until ctx ends. They stay then, as the addresses are announced on. It must not be called again before
// it has returned.
func (r *Reports) Run(ctx context.Context) error {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[reportKey](firstReportRetry, lastReportRetry))
	r.mu.Lock()
	r.queue = queue
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	appeared := newSignal()
	for name, k := range r.kinds {
		running.Go(func() { k.follow(ctx, appeared) })
		r.lookAtAll(name)
	}
	for range reportWriters {
		running.Go(func() { r.work(ctx, queue) })
	}
	<-ctx.Done()
	r.mu.Lock()
	r.queue = nil
	r.mu.Unlock()
	queue.ShutDown()
	return nil
}

func (r *Reports) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reportKey]) {
	for {
		key, shutdown := queue.Get()
		if shutdown {
			return
		}
		if err := r.reconcile(ctx, key); err == nil {
			queue.Forget(key)
			r.failed(nil)
		} else if ctx.Err() == nil {
			r.failed(err)
			queue.AddRateLimited(key)
		}
		queue.Done(key)
	}
}

// failed notes how a request ended, and tells of the first that failed.
func (r *Reports) failed(err error) {
	r.mu.Lock()
	first := err != nil && !r.failing
	r.failing = err != nil
	r.mu.Unlock()
	if first {
		r.log.Warn("Which node announces a Service could not be reported, which is tried again", "error", err)
	}
}
