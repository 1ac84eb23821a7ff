package ingress

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/certs"
	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
)

// dataPath is what a loop tells of a proxy.
type dataPath interface {
	SetTable(*table.Table)
	SetEndpoints(table.BackendRef, []proxy.Endpoint)
	SetDefaultCertificate(*tls.Certificate)
}

// loop is the goroutine that makes what a Node's proxy serves. It has all objects, and looks only at what has changed and at
// what refers to that.
type loop struct {
	node   *Node
	log    *slog.Logger
	server dataPath
	// metrics may be nil.
	metrics *proxy.Metrics
	made    *tls.Certificate // the default certificate where the settings name none
	facts   Facts

	objects map[Key]object
	slices  map[types.NamespacedName]map[Key]struct{} // of a Service
	classes []*networkingv1.IngressClass
	used    usage // by Ingresses and settings
	set     settings
	begun   bool

	builder  *table.Builder
	table    *table.Table
	tables   uint64
	readings map[types.NamespacedName]*read
	parsed   map[Key]*parsedSecret
	ends     *endpoints
	streams  *streams                       // nil without a proxy
	findAt   time.Time                      // when findings are to be compared; zero if nothing has changed
	unused   map[table.BackendRef]time.Time // backends that no table names any more, and when they are forgotten
	shutdown atomic.Int64
}

// read is an Ingress of ours as it was read last.
type read struct {
	uid      types.UID
	findings []table.Finding
	backends []table.BackendRef
}

// forgetAfter is for how long a backend that no Ingress names any more keeps its endpoints: requests that were routed by the
// table before may be about to connect to them.
const forgetAfter = time.Second

// findingsPause is how long changes are collected before findings are compared, which takes a look at all Ingresses.
const findingsPause = 250 * time.Millisecond

func newLoop(n *Node, server dataPath, made *tls.Certificate) *loop {
	l := &loop{
		node: n, log: n.log, server: server, made: made, objects: map[Key]object{}, slices: map[types.NamespacedName]map[Key]struct{}{},
		used: newUsage(), builder: table.NewBuilder(), readings: map[types.NamespacedName]*read{}, parsed: map[Key]*parsedSecret{},
		unused: map[table.BackendRef]time.Time{},
	}
	l.ends = newEndpoints(l, n.names)
	return l
}

// run follows what the Node is told until ctx ends, and closes first after the first table that has everything.
func (l *loop) run(ctx context.Context, first chan<- struct{}) {
	for {
		var due <-chan time.Time
		if at := l.dueAt(); !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return
		case <-due:
			l.doDue(time.Now())
			continue
		case <-l.node.wake:
		}
		facts, batch, done, synced, told := l.node.take()
		if told {
			l.step(facts, batch)
			if l.streams != nil {
				l.streams.reconcile(ctx, l.set.Streams)
			}
		}
		l.ends.renamed()
		for _, f := range done {
			f()
		}
		if synced && first != nil {
			close(first)
			first = nil
		}
	}
}

// dueAt is when there is something to do that waits; zero if there is nothing.
func (l *loop) dueAt() time.Time {
	at := l.findAt
	for _, t := range l.unused {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	return at
}

// doDue does what has waited until now.
func (l *loop) doDue(now time.Time) {
	if !l.findAt.IsZero() && !now.Before(l.findAt) {
		l.findAt = time.Time{}
		l.compareFindings()
	}
	for ref, t := range l.unused {
		if !now.Before(t) {
			delete(l.unused, ref)
			l.ends.forget(ref)
		}
	}
}

func (l *loop) shutdownTimeout() time.Duration { return time.Duration(l.shutdown.Load()) }

// work is what one step has to look at.
type work struct {
	ingresses map[types.NamespacedName]struct{}
	services  map[types.NamespacedName]struct{}
	settings  bool
	all       bool // every Ingress
}

// step brings the proxy up to date.
func (l *loop) step(facts Facts, batch map[Key]Change) {
	w := &work{ingresses: map[types.NamespacedName]struct{}{}, services: map[types.NamespacedName]struct{}{}}
	if !l.begun || !equality.Semantic.DeepEqual(facts.Options, l.facts.Options) {
		w.settings, w.all = true, true
	}
	moved := facts.Zone != l.facts.Zone || facts.Node != l.facts.Node
	l.begun, l.facts = true, facts
	l.node.names.configure(facts.DNS)
	for _, k := range slices.SortedFunc(maps.Keys(batch), compareKeys) {
		l.take(w, batch[k])
	}
	if w.settings {
		l.readSettings(w)
	}
	if w.all {
		for k := range l.objects {
			if k.Kind == KindIngress {
				w.ingresses[k.named()] = struct{}{}
			}
		}
	}
	gone := map[table.BackendRef]struct{}{}
	for n := range w.ingresses {
		l.readIngress(n, w, gone)
	}
	t := l.builder.Table()
	l.ends.update(w.services, moved)
	if t != l.table {
		l.table = t
		l.server.SetTable(t)
		l.tables++
		if l.metrics != nil {
			l.metrics.Reloaded(l.tables, time.Now(), nil)
		}
	}
	for ref := range gone {
		l.unused[ref] = time.Now().Add(forgetAfter)
	}
	if len(w.ingresses) > 0 && l.findAt.IsZero() {
		l.findAt = time.Now().Add(findingsPause)
	}
}

// take notes one change, and what has to be looked at because of it.
func (l *loop) take(w *work, c Change) {
	was := l.objects[c.Key]
	if was == nil && c.Object == nil || was != nil && c.Object != nil && same(was, c.Object) {
		return
	}
	if c.Object == nil {
		delete(l.objects, c.Key)
	} else {
		l.objects[c.Key] = c.Object
	}
	switch c.Kind {
	case KindClass:
		l.listClasses()
		w.all = true
	case KindIngress:
		w.ingresses[c.named()] = struct{}{}
	case KindSlice:
		l.takeSlice(w, c.Key, was, c.Object)
	case KindService:
		w.services[c.named()] = struct{}{}
	}
	for _, user := range l.used.users(c.Key) {
		if user == settingsUser() {
			w.settings = true
		} else if c.Kind != KindService || (was == nil) != (c.Object == nil) {
			w.ingresses[user.named()] = struct{}{}
		}
	}
}

func (l *loop) takeSlice(w *work, k Key, was, is object) {
	for _, o := range []object{was, is} {
		s, ok := o.(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		service := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		w.services[service] = struct{}{}
		if o == was {
			delete(l.slices[service], k)
			if len(l.slices[service]) == 0 {
				delete(l.slices, service)
			}
		} else {
			if l.slices[service] == nil {
				l.slices[service] = map[Key]struct{}{}
			}
			l.slices[service][k] = struct{}{}
		}
	}
}

func (l *loop) listClasses() {
	l.classes = nil
	for k, o := range l.objects {
		if k.Kind == KindClass {
			if c, ok := o.(*networkingv1.IngressClass); ok {
				l.classes = append(l.classes, c)
			}
		}
	}
	slices.SortFunc(l.classes, func(a, b *networkingv1.IngressClass) int { return compareText(a.Name, b.Name) })
}

// readSettings reads the settings, which every Ingress is read with.
func (l *loop) readSettings(w *work) {
	before := l.set.backends
	l.set = l.facts.Options.readSettings(l)
	l.used.set(settingsUser(), append(keysOf(KindConfigMap, l.facts.Options.settingNames()), l.set.refs...))
	l.builder.SetSettings(l.set.Settings)
	l.shutdown.Store(int64(l.set.ShutdownTimeout))
	w.all = true
	l.findAt = time.Now().Add(findingsPause)
	for _, f := range l.set.findings {
		l.log.Warn("A setting of the ingress is not used as it is written", "object", f.Ingress.String(), "key", f.Field, "reason", f.Reason, "message", f.Message)
	}
	l.node.setStreams(l.set.Streams)
	certificate := l.made
	if n := l.set.DefaultCertificate; n.Name != "" {
		if c, err := l.certificate(n); err != nil {
			l.log.Warn("The default certificate can't be used, and one that was made here is in its place", "secret", n.String(), "error", err)
		} else {
			certificate = c.Pair
		}
	}
	l.server.SetDefaultCertificate(certificate)
	for _, ref := range l.set.backends {
		l.ends.want(ref)
		w.services[types.NamespacedName{Namespace: ref.Namespace, Name: ref.Service}] = struct{}{}
	}
	for _, ref := range before {
		l.ends.release(ref)
	}
}

// readIngress reads one Ingress, and notes the Services of which endpoints are needed, and those of which they are not any more.
func (l *loop) readIngress(n types.NamespacedName, w *work, gone map[table.BackendRef]struct{}) {
	key := keyOf(KindIngress, n)
	was := l.readings[n]
	ing, ok := l.objects[key].(*networkingv1.Ingress)
	var class table.Class
	reason := ""
	if ok {
		class, ok, reason = l.facts.Options.classOf(ing, l.classes)
	}
	var now *read
	if ok {
		r := readIngress(ing, class, l.set.defaults, l)
		certificates, findings := l.certificates(ing)
		now = &read{uid: ing.UID, findings: append(r.findings, findings...), backends: r.backends}
		l.readings[n] = now
		l.used.set(key, r.refs)
		l.builder.Set(&table.Ingress{Object: ing, Class: class, ClassReason: reason, Options: r.options, Certificates: certificates})
		for _, ref := range r.backends {
			l.ends.want(ref)
			delete(gone, ref)
			w.services[types.NamespacedName{Namespace: ref.Namespace, Name: ref.Service}] = struct{}{}
		}
	} else {
		delete(l.readings, n)
		l.used.set(key, nil)
		l.builder.Delete(n)
	}
	if was != nil {
		for _, ref := range was.backends {
			if l.ends.release(ref) {
				gone[ref] = struct{}{}
			}
			// The Ingress may have had a say about the Service that it has not any more.
			w.services[types.NamespacedName{Namespace: ref.Namespace, Name: ref.Service}] = struct{}{}
		}
	}
}

// parsedSecret is a certificate of a Secret, parsed once.
type parsedSecret struct {
	object      object
	certificate *table.Certificate
	err         error
}

func (l *loop) certificate(n types.NamespacedName) (*table.Certificate, error) {
	k := keyOf(KindSecret, n)
	o := l.objects[k]
	s, ok := o.(*corev1.Secret)
	if !ok {
		delete(l.parsed, k)
		return nil, errNoSecret
	}
	if p := l.parsed[k]; p != nil && p.object == o {
		return p.certificate, p.err
	}
	p := &parsedSecret{object: o}
	p.certificate, p.err = certs.Certificate(s)
	l.parsed[k] = p
	return p.certificate, p.err
}

// Secret is part of nginx.Objects, as are ConfigMap and Service.
func (l *loop) Secret(n types.NamespacedName) *corev1.Secret {
	s, _ := l.objects[keyOf(KindSecret, n)].(*corev1.Secret)
	return s
}

// ConfigMap is part of nginx.Objects.
func (l *loop) ConfigMap(n types.NamespacedName) *corev1.ConfigMap {
	m, _ := l.objects[keyOf(KindConfigMap, n)].(*corev1.ConfigMap)
	return m
}

// Service is part of nginx.Objects.
func (l *loop) Service(n types.NamespacedName) *corev1.Service {
	s, _ := l.objects[keyOf(KindService, n)].(*corev1.Service)
	return s
}

func (l *loop) slicesOf(n types.NamespacedName) []*discoveryv1.EndpointSlice {
	out := make([]*discoveryv1.EndpointSlice, 0, len(l.slices[n]))
	for k := range l.slices[n] {
		if s, ok := l.objects[k].(*discoveryv1.EndpointSlice); ok {
			out = append(out, s)
		}
	}
	return out
}

// compareFindings notes what is found about Ingresses now and was not before.
func (l *loop) compareFindings() {
	fresh := false
	f := &l.node.found
	f.Lock()
	defer f.Unlock()
	note := func(now Findings) {
		n := now.subject()
		was, had := f.all[n]
		if had && was.UID == now.UID && slices.Equal(was.List, now.List) || !had && len(now.List) == 0 {
			return
		}
		f.all[n], f.fresh[n], fresh = now, struct{}{}, true
	}
	for n, r := range l.readings {
		note(Findings{Ingress: n, UID: r.uid, List: slices.Concat(r.findings, l.table.Findings(n))})
	}
	settings := map[types.NamespacedName][]table.Finding{}
	for i := range l.set.findings {
		x := &l.set.findings[i]
		settings[x.Ingress] = append(settings[x.Ingress], *x)
	}
	for n, list := range settings {
		note(Findings{Kind: KindConfigMap, Ingress: n, List: list})
	}
	if l.metrics != nil {
		l.metrics.Retain(func(namespace, ingress string) bool {
			return l.readings[types.NamespacedName{Namespace: namespace, Name: ingress}] != nil
		})
	}
	f.expiry = map[string]time.Time{}
	for _, p := range l.parsed {
		if p.certificate == nil {
			continue
		}
		for _, host := range p.certificate.Names {
			f.expiry[host] = p.certificate.NotAfter
		}
	}
	for n := range f.all {
		if n.kind == KindConfigMap && settings[n.name] == nil || n.kind != KindConfigMap && l.readings[n.name] == nil {
			delete(f.all, n)
			f.fresh[n], fresh = struct{}{}, true
		}
	}
	if fresh {
		poke(l.node.changed)
	}
}

// noStreamLog takes lines of streams and writes them nowhere.
type noStreamLog struct{}

func (noStreamLog) Line([]byte) {}
