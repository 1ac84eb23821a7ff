package loadbalancer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/pool"
)

const (
	// parallelWrites bounds how many Services are written at a time.
	parallelWrites = 16

	firstWriteRetry = 50 * time.Millisecond
	lastWriteRetry  = 10 * time.Second
	// loudFailures is after how many failures in a row an event tells of them.
	loudFailures = 4

	// What somebody else changes is corrected at once this many times, then less and less often, until it was left alone
	// for calmAfter.
	freeCorrections = 3
	firstCorrection = time.Second
	lastCorrection  = time.Minute
	calmAfter       = 10 * time.Minute

	// Where many Services have to be decided about anew, and changes come one after the other, that takes a third of the time;
	// but a change never waits for longer than maxPause.
	pauseFactor = 2
	maxPause    = 20 * time.Millisecond
)

// loop is one Run of a Controller. It alone changes the book; requests to the API are made beside it.
type loop struct {
	c       *Controller
	changes *changes
	objects *objectWriter
	book    *book
	writer  writer

	queue   []*entry // to be written, once fewer than parallelWrites are under way
	active  int
	results chan result
	later   map[types.NamespacedName]time.Time // when to look again at a Service

	allocate bool      // addresses are to be decided anew
	notUntil time.Time // but not before
	config   bool      // Settings have changed since
}

// result is what came of a write.
type result struct {
	entry   *entry
	target  target
	service *corev1.Service
	err     error
}

func newLoop(c *Controller, changes *changes, objects *objectWriter) *loop {
	l := &loop{
		c: c, changes: changes, objects: objects, book: newBook(c.ours, c.servesClass), writer: writer{c.cfg.Client},
		results: make(chan result, parallelWrites), later: map[types.NamespacedName]time.Time{},
		allocate: true, config: true,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.book = l.book
	return l
}

func (l *loop) run(ctx context.Context) {
	var writes sync.WaitGroup
	defer writes.Wait()
	defer l.c.cfg.Pressure.set(false)
	for {
		l.step(ctx, &writes, time.Now())
		timer := l.timer(time.Now())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-l.changes.wake:
		case r := <-l.results:
			l.results <- r // step takes it, together with others; there is room, as it was one of these that were counted
		case <-timer.C:
		}
		timer.Stop()
	}
}

// step takes in what happened, decides, and starts the writes that follow.
func (l *loop) step(ctx context.Context, writes *sync.WaitGroup, now time.Time) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	look := map[*entry]struct{}{}
	l.takeResults(now, look)
	l.takeChanges(look)
	for key, at := range l.later {
		if e := l.book.entries[key]; !at.After(now) || e == nil {
			delete(l.later, key)
			if e != nil {
				look[e] = struct{}{}
			}
		}
	}
	if l.allocate && !l.notUntil.After(now) {
		l.decide(look)
	}
	for key := range l.book.contested {
		look[l.book.entries[key]] = struct{}{}
	}
	for e := range look {
		l.settle(e, now)
	}
	l.start(ctx, writes, now)
	l.c.cfg.Pressure.set(l.active > 0)
}

// takeChanges notes what the informers and Settings tell.
func (l *loop) takeChanges(look map[*entry]struct{}) {
	services, namespaces, config := l.changes.take()
	l.config = l.config || config
	l.allocate = l.allocate || config
	for name := range namespaces {
		all, _ := l.c.cfg.Services.Lister().Services(name).List(labels.Everything()) // a lister makes no error
		for _, s := range all {
			services[keyOf(s)] = struct{}{}
		}
	}
	for key := range services {
		l.c.metrics.updates.Add(1)
		l.note(key, l.informed(key), look)
	}
}

// informed returns the state of a Service that the informer shows.
func (l *loop) informed(key types.NamespacedName) *corev1.Service {
	o, _, _ := l.c.cfg.Services.Informer().GetStore().GetByKey(key.String()) // a key of this kind makes no error
	s, _ := o.(*corev1.Service)
	return s
}

// note takes in a state of a Service.
func (l *loop) note(key types.NamespacedName, s *corev1.Service, look map[*entry]struct{}) {
	o, known, _ := l.c.cfg.Namespaces.Informer().GetStore().GetByKey(key.Namespace)
	namespace, _ := o.(*corev1.Namespace)
	if !known && s != nil && l.book.entries[key] == nil && l.c.ours(s) {
		return // without its labels the wrong pool might be taken; the Service is looked at when they are known
	}
	var of labels.Set
	if namespace != nil {
		of = namespace.Labels
	}
	if l.book.set(key, s, of) {
		l.allocate = true
	}
	if e := l.book.entries[key]; e != nil {
		look[e] = struct{}{}
	}
}

// decide gives addresses.
func (l *loop) decide(look map[*entry]struct{}) {
	began := time.Now()
	if l.config {
		c, _ := l.c.cfg.Settings.Current()
		l.book.configure(c)
		l.config = false
	}
	changed := l.book.allocate()
	if len(changed) > 0 {
		l.c.cfg.Pressure.set(true) // what they are told is less urgent than what they get
	}
	for _, change := range changed {
		l.tellDecision(change)
		look[change.entry] = struct{}{}
		if len(change.decision.Addresses) > 0 || len(change.was.Addresses) > 0 {
			l.c.log.Debug("The addresses of a Service were decided", "service", change.key, "addresses", change.decision.Addresses,
				"pool", change.decision.Pool, "reason", change.decision.Reason)
		}
	}
	l.objects.want(l.book.config, l.book.usage)
	l.allocate = false
	l.notUntil = time.Now().Add(min(pauseFactor*time.Since(began), maxPause))
}

// settle queues the write of a Service that is not as it is to be.
func (l *loop) settle(e *entry, now time.Time) {
	if l.book.entries[e.key] != e || e.running || e.queued || e.ours && !e.decided {
		return
	}
	t := l.book.target(e)
	if e.is(t) {
		l.satisfied(e)
		return
	}
	if at := later(e.retry.at, e.corrections.at); at.After(now) && (e.retry.at.After(now) || e.isCorrection(t)) {
		l.later[e.key] = at
		return
	}
	e.queued = true
	l.queue = append(l.queue, e)
}

// start begins writes for as long as there may be more of them.
func (l *loop) start(ctx context.Context, writes *sync.WaitGroup, now time.Time) {
	for l.active < parallelWrites && len(l.queue) > 0 {
		e := l.queue[0]
		l.queue = l.queue[1:]
		e.queued = false
		t := l.book.target(e)
		if l.book.entries[e.key] != e || e.is(t) {
			l.settle(e, now)
			continue
		}
		if e.isCorrection(t) {
			l.correcting(e, now)
		}
		e.running = true
		l.active++
		service := e.service
		writes.Go(func() {
			is, err := l.writer.write(ctx, service, t)
			l.results <- result{entry: e, target: t, service: is, err: err}
		})
	}
}

// correcting counts what somebody else made of a Service.
func (l *loop) correcting(e *entry, now time.Time) {
	if now.Sub(e.corrections.at) > calmAfter {
		e.corrections = backoff{}
	}
	e.corrections.failures++
	e.corrections.at = now
	if n := e.corrections.failures - freeCorrections; n > 0 {
		e.corrections.at = now.Add(min(firstCorrection<<min(n-1, 10), lastCorrection))
	}
	if e.corrections.failures == freeCorrections+1 {
		l.tellOverwritten(e)
	}
}

// takeResults takes in what came of writes.
func (l *loop) takeResults(now time.Time, look map[*entry]struct{}) {
	for {
		select {
		case r := <-l.results:
			l.active--
			r.entry.running = false
			switch {
			case l.book.entries[r.entry.key] != r.entry: // the informer was faster
			case errors.Is(r.err, errGone):
				l.allocate = l.allocate || r.entry.ours
				l.book.remove(r.entry)
			default:
				l.finished(r, now)
				l.note(r.entry.key, r.service, look)
			}
		default:
			return
		}
	}
}

// finished notes what came of a write of a Service that is still there.
func (l *loop) finished(r result, now time.Time) {
	e := r.entry
	switch {
	case r.err == nil:
		l.c.metrics.writes.Add(1)
		e.retry = backoff{}
		e.wrote, e.answer = &r.target, r.service.Status.LoadBalancer.Ingress
		return
	case errors.Is(r.err, context.Canceled):
		return
	case apierrors.IsConflict(r.err) && isNewer(r.service, e.service):
		return // somebody else was faster; the newest state is known now
	}
	l.c.metrics.errors.Add(1)
	e.retry.failed(now, firstWriteRetry, lastWriteRetry)
	switch e.retry.failures {
	case 1:
		l.c.log.Warn("The load balancer of a Service could not be written, which is tried again", "service", e.key, "error", r.err)
	case loudFailures:
		l.tellFailure(e, r.err)
	}
}

// satisfied is called when the API holds what it is to hold about a Service.
func (l *loop) satisfied(e *entry) {
	delete(l.later, e.key)
	if e.ours {
		if _, waits := l.book.contested[e.key]; !waits {
			l.tellAssigned(e)
		}
		return
	}
	// An older state that the informer has yet to show must not look like a Service that is to be freed.
	if s := l.informed(e.key); s == nil || !isNewer(e.service, s) {
		l.book.remove(e)
	}
}

// timer fires when something is to be looked at again.
func (l *loop) timer(now time.Time) *time.Timer {
	next := time.Hour
	for _, at := range l.later {
		next = min(next, at.Sub(now))
	}
	if l.allocate {
		next = min(next, l.notUntil.Sub(now))
	}
	return time.NewTimer(max(next, 0))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// is tells whether the API holds what it is to hold about the Service. What the API made of the last write is taken for
// what was wanted: an older API server leaves out fields that it does not know.
func (e *entry) is(t target) bool {
	has := e.service.Status.LoadBalancer.Ingress
	value, annotated := e.service.Annotations[pool.AnnotationAllocatedFrom]
	switch {
	case slices.Contains(e.service.Finalizers, Finalizer) != t.marked || annotated != t.marked || t.marked && value != t.pool:
		return false
	case !t.status || sameIngress(has, t.ingress):
		return true
	}
	return e.wrote != nil && e.wrote.equal(t) && sameIngress(has, e.answer)
}

// isCorrection tells whether the last write was the same.
func (e *entry) isCorrection(t target) bool { return e.wrote != nil && e.wrote.equal(t) }
