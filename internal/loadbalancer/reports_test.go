package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

const l2 = metallb.KindServiceL2Status

// reportRig is an API with Reports.
type reportRig struct {
	t       *testing.T
	dynamic *dynamicfake.FakeDynamicClient
	*Reports
	stop func()

	made   atomic.Int64
	absent atomic.Bool
	mu     sync.Mutex
	verbs  []string // of all writes
	fail   func(verb string) error
}

func newReportRig(t *testing.T, objects ...*unstructured.Unstructured) *reportRig {
	r := &reportRig{t: t}
	kinds := map[schema.GroupVersionResource]string{}
	for name, resource := range reportKinds() {
		kinds[resource] = name + "List"
	}
	r.dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	for _, o := range objects {
		resource := reportKinds()[o.GetKind()]
		if _, err := r.dynamic.Resource(resource).Namespace(config.Namespace).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.dynamic.PrependReactor("*", "*", r.react)
	var err error
	if r.Reports, err = NewReports(ReportsConfig{Dynamic: r.dynamic}); err != nil {
		t.Fatal(err)
	}
	return r
}

// react does what the API server does beyond the fake: it makes names, and may fail.
func (r *reportRig) react(a clienttesting.Action) (bool, runtime.Object, error) {
	if r.absent.Load() {
		return true, nil, apierrors.NewNotFound(a.GetResource().GroupResource(), "")
	}
	verb := a.GetVerb()
	if verb == "list" || verb == "watch" || verb == "get" {
		return false, nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verbs = append(r.verbs, strings.TrimSuffix(verb+"/"+a.GetSubresource(), "/"))
	if r.fail != nil {
		if err := r.fail(verb); err != nil {
			return true, nil, err
		}
	}
	if c, ok := a.(clienttesting.CreateAction); ok && verb == "create" {
		u := c.GetObject().(*unstructured.Unstructured)
		n := r.made.Add(1)
		u.SetName(fmt.Sprintf("%s%05d", u.GetGenerateName(), n))
		u.SetUID(types.UID(fmt.Sprintf("uid-%d", n)))
	}
	return false, nil, nil
}

// run runs the Reports until the end of the test or stop.
func (r *reportRig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	r.stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(deadline):
			r.t.Error("Run did not return")
		}
	}
	r.t.Cleanup(r.stop)
}

// existing is a report that is in the API.
func existing(kind, name, node, service string, status map[string]any) *unstructured.Unstructured {
	full := map[string]any{"node": node, "serviceName": service, "serviceNamespace": "default"}
	for k, v := range status {
		full[k] = v
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "metallb.io/v1beta1", "kind": kind,
		"metadata": map[string]any{
			"name": name, "namespace": config.Namespace, "uid": "uid-" + name,
			"labels": map[string]any{metallb.LabelNode: node, metallb.LabelServiceName: service, metallb.LabelServiceNamespace: "default"},
		},
		"status": full,
	}}
}

func announcedAt(names ...string) *report {
	var list []any
	for _, n := range names {
		list = append(list, map[string]any{"name": n})
	}
	return &report{fields: map[string]any{"interfaces": list}, owner: "uid-of-node"}
}

// objects are the reports in the API, as "name node/service interfaces".
func (r *reportRig) objects(kind string) []string {
	list, err := r.dynamic.Resource(reportKinds()[kind]).Namespace(config.Namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, u := range list.Items {
		status, _, _ := unstructured.NestedMap(u.Object, "status")
		text := fmt.Sprintf("%s %v/%v", u.GetName(), status["node"], status["serviceName"])
		for _, field := range []string{"interfaces", "peers"} {
			if status[field] != nil {
				text += fmt.Sprint(" ", status[field])
			}
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func (r *reportRig) wantObjects(kind string, want ...string) {
	r.t.Helper()
	for end := time.Now().Add(deadline); ; pause(context.Background(), 2*time.Millisecond) {
		got := r.objects(kind)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("objects\n %q, want\n %q", got, want)
		}
	}
}

// writes are the writes so far.
func (r *reportRig) writes() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.verbs, " ")
}

func TestAReportComesChangesAndGoes(t *testing.T) {
	r := newReportRig(t)
	r.begin(l2, "node-1")
	r.run()
	r.want(l2, "node-1", key("web"), announcedAt())
	r.wantObjects(l2, "l2-00001 node-1/web")
	u, err := r.dynamic.Resource(reportKinds()[l2]).Namespace(config.Namespace).Get(t.Context(), "l2-00001", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"metallb.io/node": "node-1", "metallb.io/service-name": "web", "metallb.io/service-namespace": "default"}
	owner := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "node-1", UID: "uid-of-node"}}
	if !reflect.DeepEqual(u.GetLabels(), labels) || !reflect.DeepEqual(u.GetOwnerReferences(), owner) {
		t.Errorf("labels %v, owners %v", u.GetLabels(), u.GetOwnerReferences())
	}
	if got, _, _ := unstructured.NestedString(u.Object, "status", "serviceNamespace"); got != "default" {
		t.Errorf("status %v", u.Object["status"])
	}
	r.want(l2, "node-1", key("web"), announcedAt("eth0"))
	r.wantObjects(l2, "l2-00001 node-1/web [map[name:eth0]]")
	r.want(l2, "node-1", key("web"), announcedAt())
	r.wantObjects(l2, "l2-00001 node-1/web")
	if got := r.writes(); got != "create patch/status patch/status patch/status" {
		t.Errorf("writes %q", got)
	}
	r.settled(l2, "node-1")
	r.want(l2, "node-1", key("web"), nil)
	r.wantObjects(l2)
}

func TestReportsOfBGP(t *testing.T) {
	r := newReportRig(t)
	r.begin(metallb.KindServiceBGPStatus, "node-1")
	r.run()
	r.want(metallb.KindServiceBGPStatus, "node-1", key("web"), &report{fields: map[string]any{"peers": []any{"router"}}})
	r.wantObjects(metallb.KindServiceBGPStatus, "bgp-00001 node-1/web [router]")
	r.wantObjects(l2)
}

// The next process takes over what is there, and removes what is not so any more once it knows everything.
func TestReportsAreTakenOver(t *testing.T) {
	r := newReportRig(t,
		existing(l2, "l2-right", "node-1", "web", nil),
		existing(l2, "l2-second", "node-1", "web", nil),
		existing(l2, "l2-old", "node-1", "gone", nil),
		existing(l2, "l2-other", "node-2", "gone", nil),
		existing(l2, "l2-wrong", "node-1", "moved", map[string]any{"node": "node-3"}),
	)
	r.begin(l2, "node-1")
	r.run()
	r.want(l2, "node-1", key("web"), announcedAt())
	r.want(l2, "node-1", key("moved"), announcedAt())
	r.wantObjects(l2, "l2-00001 node-1/moved", "l2-old node-1/gone", "l2-other node-2/gone", "l2-right node-1/web")
	r.settled(l2, "node-1")
	r.wantObjects(l2, "l2-00001 node-1/moved", "l2-other node-2/gone", "l2-right node-1/web")
	before := r.writes()
	r.stop()
	r.begin(l2, "node-1")
	r.want(l2, "node-1", key("web"), announcedAt())
	r.run()
	r.want(l2, "node-1", key("moved"), announcedAt())
	r.settled(l2, "node-1")
	r.want(l2, "node-1", key("marker"), announcedAt())
	r.wantObjects(l2, "l2-00001 node-1/moved", "l2-00002 node-1/marker", "l2-other node-2/gone", "l2-right node-1/web")
	if got := strings.TrimPrefix(r.writes(), before); got != " create patch/status" {
		t.Errorf("writes after the restart%s", got)
	}
}

// What somebody deletes or changes is put right.
func TestReportsAreKept(t *testing.T) {
	r := newReportRig(t)
	r.begin(l2, "node-1")
	r.run()
	r.want(l2, "node-1", key("web"), announcedAt())
	r.wantObjects(l2, "l2-00001 node-1/web")
	client := r.dynamic.Resource(reportKinds()[l2]).Namespace(config.Namespace)
	if err := client.Delete(t.Context(), "l2-00001", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.wantObjects(l2, "l2-00002 node-1/web")
	if _, err := client.Update(t.Context(), existing(l2, "l2-00002", "node-1", "web", map[string]any{"interfaces": []any{"x"}}), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.wantObjects(l2, "l2-00002 node-1/web")
	if _, err := client.Create(t.Context(), existing(l2, "l2-x", "node-1", "web", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// One of the two stays.
	r.want(l2, "node-1", key("web"), announcedAt("eth0"))
	for end := time.Now().Add(deadline); len(r.objects(l2)) != 1 || !strings.HasSuffix(r.objects(l2)[0], "eth0]]"); pause(t.Context(), time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("objects %q", r.objects(l2))
		}
	}
}

// The node that wins a Service removes what a dead one has told of it, and not what a living one tells.
func TestReportsOfDeadNodesGo(t *testing.T) {
	r := newReportRig(t,
		existing(l2, "l2-dead", "node-2", "web", nil),
		existing(l2, "l2-alive", "node-3", "web", nil),
		existing(l2, "l2-another", "node-2", "another", nil),
	)
	r.begin(l2, "node-1")
	r.run()
	want := announcedAt()
	want.alive = map[string]bool{"node-1": true, "node-2": false, "node-3": true}
	r.want(l2, "node-1", key("web"), want)
	r.wantObjects(l2, "l2-00001 node-1/web", "l2-alive node-3/web", "l2-another node-2/another")
}

// Installers may add the kinds later.
func TestReportsWaitForTheirKind(t *testing.T) {
	r := newReportRig(t)
	r.absent.Store(true)
	r.begin(l2, "node-1")
	r.run()
	r.want(l2, "node-1", key("web"), announcedAt())
	for end := time.Now().Add(deadline); ; pause(t.Context(), time.Millisecond) {
		if _, known := r.kinds[l2].objects(); known {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody noticed that the kind is not there")
		}
	}
	r.absent.Store(false)
	r.wantObjects(l2, "l2-00001 node-1/web")
}

func TestReportsAreTriedAgain(t *testing.T) {
	r := newReportRig(t)
	failures := map[string]int{}
	r.fail = func(verb string) error { // the caller holds mu
		if failures[verb]++; failures[verb] == 1 {
			return errors.New("no")
		}
		return nil
	}
	r.begin(l2, "node-1")
	r.settled(l2, "node-1")
	r.run()
	r.want(l2, "node-1", key("web"), announcedAt())
	r.wantObjects(l2, "l2-00001 node-1/web")
	r.want(l2, "node-1", key("web"), nil)
	r.wantObjects(l2)
	if got := r.writes(); got != "create create patch/status patch/status delete delete" {
		t.Errorf("writes %q", got)
	}
}

// A node that has an address for a moment is no work for the API.
func TestReportsOfAMomentAreNotWritten(t *testing.T) {
	r := newReportRig(t)
	r.begin(l2, "node-1")
	r.run()
	for range 100 {
		r.want(l2, "node-1", key("web"), announcedAt())
		r.want(l2, "node-1", key("web"), nil)
	}
	r.want(l2, "node-1", key("marker"), announcedAt())
	r.wantObjects(l2, "l2-00001 node-1/marker")
	if got := r.writes(); got != "create patch/status" {
		t.Errorf("writes %q", got)
	}
}

// Two thousand Services at once are written in the background, at a bounded rate.
func TestManyReports(t *testing.T) {
	r := newReportRig(t)
	r.begin(l2, "node-1")
	r.run()
	began := time.Now()
	for i := range 2000 {
		r.want(l2, "node-1", key(fmt.Sprintf("web-%d", i)), announcedAt())
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("2,000 reports kept their sender for %v", took)
	}
	const enough = 100
	for end := time.Now().Add(deadline); len(strings.Fields(r.writes())) < enough; pause(t.Context(), time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("only %d writes", len(strings.Fields(r.writes())))
		}
	}
	if took, least := time.Since(began), (enough-reportsEach)*time.Second/reportsEach; took < least*9/10 {
		t.Errorf("%d writes took %v, which is faster than %d a second", enough, took, reportsEach)
	}
}

func TestLongNodeNamesAreNotReported(t *testing.T) {
	r := newReportRig(t)
	r.begin(l2, "node-1")
	r.run()
	r.want(l2, strings.Repeat("n", 64), key("web"), announcedAt())
	r.want(l2, "node-1", key("marker"), announcedAt())
	r.wantObjects(l2, "l2-00001 node-1/marker")
}
