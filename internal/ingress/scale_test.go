package ingress

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"minato/internal/ingress/table"
)

// manyRoutes is how many Ingresses there are, of 100 Services, where edits are measured.
const manyRoutes = 5000

// An edit, and a change of endpoints, costs the same however many Ingresses there are: far less than what one may take from the
// write to the first request.
func TestEditsAtScale(t *testing.T) {
	n, err := NewNode(NodeConfig{Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	l := newLoop(n, nowhere{}, nil)
	facts := Facts{Node: "node-1", Options: DefaultOptions()}
	batch := map[Key]Change{}
	put := func(k Kind, o object) {
		batch[Key{k, o.GetNamespace(), o.GetName()}] = Change{Key{k, o.GetNamespace(), o.GetName()}, o}
	}
	for _, c := range ownClasses() {
		put(KindClass, c)
	}
	name := func(i int) string { return fmt.Sprintf("service-%d", i%100) }
	for i := range 100 {
		put(KindService, &corev1.Service{ObjectMeta: metaOf(name(i)), Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 80}}}})
		put(KindSlice, slice(name(i), netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:80")))
	}
	ingresses := make([]*networkingv1.Ingress, manyRoutes)
	for i := range ingresses {
		ingresses[i] = ingressOf(fmt.Sprintf("ingress-%d", i), fmt.Sprintf("host-%d.test", i), name(i))
		put(KindIngress, ingresses[i])
	}
	began := time.Now()
	l.step(facts, batch)
	t.Logf("%d Ingresses at once took %v", manyRoutes, time.Since(began))

	const edits = 200
	var took []time.Duration
	measure := func(changed func(i int) (Kind, object)) time.Duration {
		took = took[:0]
		for i := range edits {
			batch = map[Key]Change{}
			put(changed(i))
			began := time.Now()
			l.step(facts, batch)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[edits*9/10]
	}
	edit := measure(func(i int) (Kind, object) {
		ing := ingresses[i*7].DeepCopy()
		ing.Spec.Rules[0].HTTP.Paths[0].Path = fmt.Sprintf("/v%d", i)
		return KindIngress, ing
	})
	endpoints := measure(func(i int) (Kind, object) {
		s := slice(name(i), netip.MustParseAddrPort(fmt.Sprintf("10.0.1.%d:80", i)))
		return KindSlice, s
	})
	t.Logf("nine of ten edits within %v, changes of endpoints within %v", edit, endpoints)
	if most := 10 * time.Millisecond; edit > most || endpoints > most {
		t.Errorf("an edit takes %v and a change of endpoints %v, want less than %v", edit, endpoints, most)
	}
	if r := l.table.Routes(); len(r) < manyRoutes {
		t.Errorf("there are %d routes", len(r))
	}
	if got := l.ends.set[table.BackendRef{Namespace: "default", Service: name(edits - 1), Port: "80"}]; len(got) != 1 || got[0].Addr().String() != "10.0.1.199" {
		t.Errorf("endpoints are %v", got)
	}
}
