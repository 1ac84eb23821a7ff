package loadbalancer

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Sources of events, by the names that users look for.
const (
	// SourceService is the part of a cloud that provides load balancers.
	SourceService = "service-controller"
	// SourceController is the part that gives addresses.
	SourceController = "metallb-controller"
	// SourceSpeaker is the part that announces them.
	SourceSpeaker = "metallb-speaker"
)

// Events takes events about objects of the API.
type Events interface {
	// Event tells of something that happened to an object; eventType is corev1.EventTypeNormal or EventTypeWarning.
	Event(source string, about corev1.ObjectReference, eventType, reason, message string)
}

// noEvents tells nobody.
type noEvents struct{}

func (noEvents) Event(string, corev1.ObjectReference, string, string, string) {}

// RecorderConfig says where a Recorder writes events.
type RecorderConfig struct {
	Client kubernetes.Interface
	// Pressure is what events give way to; nil for nothing.
	Pressure *Pressure
	Logger   *slog.Logger
}

// Recorder writes events to the API. An event with the same words about the same object is counted there and not written a
// second time, even if another process wrote the first. Nothing waits for the API server: callers never block. Many events
// at once are written little by little, so that they don't keep the API server from what matters more.
type Recorder struct {
	cfg   RecorderConfig
	limit *rate.Limiter

	mu      sync.Mutex
	queue   []*corev1.Event
	dropped int
	wake    chan struct{}
}

const (
	eventQueue    = 10000 // a start with thousands of Services makes three for each
	eventWriters  = 4
	eventsAtOnce  = 200
	eventsEach    = 50 // a second, after those at once
	eventAttempts = 5
	eventDelay    = 200 * time.Millisecond
	eventTimeout  = 5 * time.Second
	eventLimit    = 1024 // bytes of a message that the API takes
)

// NewRecorder makes a Recorder. Events that are recorded before Run wait for it.
func NewRecorder(cfg RecorderConfig) (*Recorder, error) {
	if cfg.Client == nil {
		return nil, fmt.Errorf("events of load balancing: a Client is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Recorder{cfg: cfg, limit: rate.NewLimiter(eventsEach, eventsAtOnce), wake: make(chan struct{}, 1)}, nil
}

// Event implements Events.
func (r *Recorder) Event(source string, about corev1.ObjectReference, eventType, reason, message string) {
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s|%s|%s|%s|%s|%s", about.Kind, about.UID, source, eventType, reason, message)
	now := metav1.Now()
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%016x", about.Name, sum.Sum64())},
		InvolvedObject: about, Type: eventType, Reason: reason, Message: message[:min(len(message), eventLimit)],
		Source: corev1.EventSource{Component: source}, ReportingController: source,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) >= eventQueue {
		r.dropped++
		return
	}
	r.queue = append(r.queue, e)
	poke(r.wake)
}

// Run writes events until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	var writers sync.WaitGroup
	defer writers.Wait()
	work := make(chan *corev1.Event)
	defer close(work)
	for range eventWriters {
		writers.Go(func() {
			for e := range work {
				r.write(ctx, e)
			}
		})
	}
	for {
		for _, e := range r.take() {
			select {
			case work <- e:
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Recorder) take() []*corev1.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropped > 0 {
		r.cfg.Logger.Warn("Events of load balancing were dropped, as the API server takes them too slowly", "events", r.dropped)
		r.dropped = 0
	}
	out := r.queue
	r.queue = nil
	return out
}

// write writes one event, and tries again a few times if the API server does not answer.
func (r *Recorder) write(ctx context.Context, e *corev1.Event) {
	delay := eventDelay
	for attempt := 1; ; attempt++ {
		r.cfg.Pressure.giveWay(ctx)
		if r.limit.Wait(ctx) != nil {
			return // the process ends
		}
		err := r.once(ctx, e)
		if err == nil || ctx.Err() != nil {
			return
		}
		// A namespace that is being deleted takes no events, and a refusal stays one.
		if attempt == eventAttempts || apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) {
			r.cfg.Logger.Debug("An event of load balancing could not be written", "reason", e.Reason, "object", e.InvolvedObject.Name, "error", err)
			return
		}
		if !pause(ctx, delay) {
			return
		}
		delay *= 2
	}
}

func (r *Recorder) once(ctx context.Context, e *corev1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	events := r.cfg.Client.CoreV1().Events(e.Namespace)
	_, err := events.Create(ctx, e, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	was, err := events.Get(ctx, e.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"count": was.Count + 1, "lastTimestamp": e.LastTimestamp})
	if err != nil {
		return err
	}
	_, err = events.Patch(ctx, e.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// poke wakes who reads a channel of capacity one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
