package loadbalancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
	"minato/internal/loadbalancer/pool"
)

// StateName is the name of the Controller's ConfigurationState.
const StateName = "controller"

const (
	// objectPause is between two rounds of writes, so that a thousand new Services don't make a thousand states of a pool.
	objectPause      = 250 * time.Millisecond
	firstObjectRetry = time.Second
	lastObjectRetry  = 30 * time.Second
)

// objectWriter writes the status of the objects that configure load balancing.
type objectWriter struct {
	client   dynamic.Interface
	settings *Settings
	events   Events
	metrics  *counters
	log      *slog.Logger
	wake     chan struct{}
	// told are the problems of which an event has told. It belongs to run.
	told map[string]bool
	// wrote is what was written last, and what the API made of it. It belongs to run.
	wrote map[config.Object]written

	mu     sync.Mutex
	config config.Config
	usage  map[string]pool.PoolUsage
}

type written struct {
	uid          types.UID
	want, answer map[string]any
}

func newObjectWriter(cfg Config, metrics *counters) *objectWriter {
	return &objectWriter{
		client: cfg.Dynamic, settings: cfg.Settings, events: cfg.Events, metrics: metrics, log: cfg.Logger,
		wake: make(chan struct{}, 1), told: map[string]bool{}, wrote: map[config.Object]written{},
	}
}

// want says what the status is made from.
func (w *objectWriter) want(c config.Config, usage map[string]pool.PoolUsage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.config, w.usage = c, usage
	poke(w.wake)
}

func (w *objectWriter) run(ctx context.Context) {
	delay := firstObjectRetry
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-again:
		}
		again = nil
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			if delay == firstObjectRetry {
				w.log.Warn("The status of the load balancers' configuration could not be written, which is tried again", "error", err)
			}
			again = time.After(delay)
			delay = min(2*delay, lastObjectRetry)
		} else {
			delay = firstObjectRetry
		}
		if !pause(ctx, objectPause) {
			return
		}
	}
}

// round writes whatever differs.
func (w *objectWriter) round(ctx context.Context) error {
	w.mu.Lock()
	c, usage := w.config, w.usage
	w.mu.Unlock()
	w.tell(c.Problems)
	var errs []error
	for _, o := range w.settings.Objects() {
		u := w.settings.Object(o)
		if u == nil {
			continue
		}
		status := map[string]any{"conditions": []metav1.Condition{c.Condition(o, u.GetGeneration())}}
		if o.Kind == metallb.KindIPAddressPool {
			count(status, usage[o.Name], slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Object == o }))
		}
		errs = append(errs, w.status(ctx, o, w.settings.Resource(o.Kind), u, status))
	}
	errs = append(errs, w.state(ctx, c.Problems))
	return errors.Join(errs...)
}

// count puts the numbers of a pool into its status. The one that is not used has no addresses.
func count(status map[string]any, u pool.PoolUsage, used bool) {
	if !used {
		u = pool.PoolUsage{}
	}
	status["assignedIPv4"], status["assignedIPv6"] = u.AssignedIPv4, u.AssignedIPv6
	status["availableIPv4"], status["availableIPv6"] = u.AvailableIPv4, u.AvailableIPv6
}

// tell tells of problems by events, once as long as they last.
func (w *objectWriter) tell(problems []config.Problem) {
	now := map[string]bool{}
	for _, p := range problems {
		about, err := w.settings.Reference(p.Object)
		if err != nil {
			continue
		}
		key := fmt.Sprint(p.Object, about.UID, p.Field, p.Message)
		now[key] = true
		if !w.told[key] {
			w.events.Event(SourceController, about, corev1.EventTypeWarning, metallb.ReasonConfigurationError, sentence(p))
			w.log.Warn("A part of the load balancers' configuration can't be honoured", "kind", p.Object.Kind, "name", p.Object.Name,
				"field", p.Field, "problem", p.Message)
		}
	}
	w.told = now
}

func sentence(p config.Problem) string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// verdict is a condition of a ConfigurationState.
func verdict(of string, problems []config.Problem) metav1.Condition {
	const limit = 32768 // bytes that the API takes
	c := metav1.Condition{Type: of, Status: metav1.ConditionTrue, Reason: metallb.ReasonReconciled}
	if len(problems) > 0 {
		text := named(problems)
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, metallb.ReasonConfigurationError, strings.ToValidUTF8(text[:min(len(text), limit)], "")
	}
	return c
}

// state writes the Controller's ConfigurationState.
func (w *objectWriter) state(ctx context.Context, problems []config.Problem) error {
	var pools, others []config.Problem
	for _, p := range problems {
		switch p.Object.Kind {
		case metallb.KindIPAddressPool, "ConfigMap":
			pools = append(pools, p)
		default:
			others = append(others, p)
		}
	}
	status := map[string]any{"result": metallb.ResultValid, "errorSummary": "", "conditions": []metav1.Condition{
		verdict(metallb.ConditionPoolReconcilerValid, pools), verdict(metallb.ConditionConfigReconcilerValid, others),
	}}
	if len(problems) > 0 {
		status["result"], status["errorSummary"] = metallb.ResultInvalid, named(problems)
	}
	o := config.Object{Kind: metallb.KindConfigurationState, Namespace: config.Namespace, Name: StateName}
	if w.same(o, "", status) {
		return nil
	}
	resource := schema.GroupVersionResource{Group: metallb.Group, Version: "v1beta1", Resource: "configurationstates"}
	client := w.client.Resource(resource).Namespace(config.Namespace)
	u, err := client.Get(ctx, StateName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		fresh := &unstructured.Unstructured{}
		fresh.SetAPIVersion(resource.GroupVersion().String())
		fresh.SetKind(o.Kind)
		fresh.SetNamespace(config.Namespace)
		fresh.SetName(StateName)
		fresh.SetLabels(map[string]string{metallb.LabelComponentType: "controller"})
		u, err = client.Create(ctx, fresh, metav1.CreateOptions{FieldManager: fieldManager})
	}
	if apierrors.IsNotFound(err) {
		return nil // the kind or the namespace is not there, so that nobody can look for it
	}
	if err != nil {
		return fmt.Errorf("make ConfigurationState %s/%s: %w", config.Namespace, StateName, err)
	}
	return w.status(ctx, o, resource, u, status)
}

// named tells of problems with the names of their objects, one in a line.
func named(problems []config.Problem) string {
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}

// same tells whether the last status written was the same.
func (w *objectWriter) same(o config.Object, uid types.UID, status map[string]any) bool {
	was, ok := w.wrote[o]
	return ok && (uid == "" || was.uid == uid) && equality.Semantic.DeepEqual(was.want, status)
}

// status writes the status of an object if it is not so already.
func (w *objectWriter) status(ctx context.Context, o config.Object, resource schema.GroupVersionResource, u *unstructured.Unstructured, status map[string]any) error {
	if w.same(o, u.GetUID(), status) {
		return nil
	}
	has, _, _ := unstructured.NestedMap(u.Object, "status")
	body, changed, err := merged(has, status)
	if err != nil {
		return fmt.Errorf("status of %s %s/%s: %w", o.Kind, o.Namespace, o.Name, err)
	}
	if changed {
		w.metrics.objects.Add(1)
		_, err = w.client.Resource(resource).Namespace(o.Namespace).Patch(ctx, o.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	}
	if apierrors.IsNotFound(err) { // it was deleted meanwhile
		delete(w.wrote, o)
		return nil
	}
	if err != nil {
		return fmt.Errorf("write the status of %s %s/%s: %w", o.Kind, o.Namespace, o.Name, err)
	}
	w.wrote[o] = written{uid: u.GetUID(), want: maps.Clone(status)}
	return nil
}

// merged makes a patch of a status. Conditions whose status stays keep the time at which they got it, and conditions of
// others stay.
func merged(has, want map[string]any) (patch []byte, changed bool, err error) {
	var conditions struct{ Conditions []metav1.Condition }
	if err := convert(has, &conditions); err != nil {
		conditions.Conditions = nil // whoever wrote it did not mean what conditions are
	}
	status := maps.Clone(want)
	for _, c := range want["conditions"].([]metav1.Condition) {
		changed = meta.SetStatusCondition(&conditions.Conditions, c) || changed
	}
	status["conditions"] = conditions.Conditions
	for key, value := range want {
		if key != "conditions" && fmt.Sprint(has[key]) != fmt.Sprint(value) {
			changed = changed || has[key] != nil || value != ""
		}
	}
	patch, err = json.Marshal(map[string]any{"status": status})
	return patch, changed, err
}

// convert makes one form of an object of another one.
func convert(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}
