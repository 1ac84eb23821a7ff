package ingress

import (
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
)

// watched is a data path that notes what endpoints each backend has.
type watched struct {
	nowhere
	has map[table.BackendRef]int
}

func (w watched) SetEndpoints(ref table.BackendRef, e []proxy.Endpoint) { w.has[ref] = len(e) }

// The last Ingress of a Service goes, and what is known of the Service with it, as Objects tells it: requests that were routed
// before find the endpoints for a while, and nobody later.
func TestUnusedBackendIsForgottenLater(t *testing.T) {
	n, err := NewNode(NodeConfig{Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	path := watched{has: map[table.BackendRef]int{}}
	l := newLoop(n, path, nil)
	step := func(objects ...Change) {
		batch := map[Key]Change{}
		for _, c := range objects {
			batch[c.Key] = c
		}
		l.step(Facts{Node: "node-1", Options: DefaultOptions()}, batch)
	}
	put := func(k Kind, o object) Change { return Change{Key{k, o.GetNamespace(), o.GetName()}, o} }
	var all []Change
	for _, c := range ownClasses() {
		all = append(all, put(KindClass, c))
	}
	service := &corev1.Service{ObjectMeta: metaOf("web"), Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 80}}}}
	used := []Change{
		put(KindService, service), put(KindSlice, slice("web", netip.MustParseAddrPort("10.0.0.1:80"))),
		put(KindIngress, ingressOf("web", "web.test", "web")),
	}
	step(append(all, used...)...)
	ref := table.BackendRef{Namespace: "default", Service: "web", Port: "80"}
	if path.has[ref] != 1 {
		t.Fatalf("the backend has %d endpoints", path.has[ref])
	}
	var gone []Change
	for _, c := range used {
		gone = append(gone, Change{Key: c.Key})
	}
	step(gone...)
	l.doDue(time.Now())
	if path.has[ref] != 1 {
		t.Error("the endpoints went with the Ingress")
	}
	step(used...)
	l.doDue(time.Now().Add(2 * forgetAfter))
	if path.has[ref] != 1 {
		t.Error("the endpoints of a backend that is used again were forgotten")
	}
	step(gone...)
	if at := l.dueAt(); at.IsZero() {
		t.Error("nothing is due")
	}
	l.doDue(time.Now().Add(2 * forgetAfter))
	if path.has[ref] != 0 || len(l.ends.set) != 0 || len(l.ends.uses) != 0 || len(l.unused) != 0 {
		t.Errorf("the backend is not forgotten: %v, %v", path.has, l.ends.uses)
	}
}
