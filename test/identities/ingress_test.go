package identities

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"

	"minato/internal/controlplane/access"
	"minato/internal/ingress"
	"minato/internal/loadbalancer"
)

// fakeProxy is a node's proxy as its registration sees it.
type fakeProxy struct {
	changed chan struct{}
	mu      sync.Mutex
	ready   bool
}

func (p *fakeProxy) State() (ingress.State, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ingress.State{Ready: p.ready}, true
}

func (p *fakeProxy) Changed() <-chan struct{} { return p.changed }

func (p *fakeProxy) set(ready bool) {
	p.mu.Lock()
	p.ready = ready
	p.mu.Unlock()
	p.changed <- struct{}{}
}

// testIngress runs what reads and writes the API for Ingresses, as in a cluster:
// each part as its own user. Not a single request may be refused.
func testIngress(ctx context.Context, t *testing.T, c *cluster) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before := len(c.refusals())
	client, node := c.client(t, access.UserIngress), c.client(t, access.UserIngressNode)
	services := informers.NewSharedInformerFactory(c.client(t, access.UserProxy), 0)
	ingresses := informers.NewSharedInformerFactory(node, 0)
	network := ingresses.Networking().V1()
	objects, err := ingress.NewObjects(ingress.ObjectsConfig{
		Client: node, Ingresses: network.Ingresses(), Classes: network.IngressClasses(),
		Services: services.Core().V1().Services(), Slices: services.Discovery().V1().EndpointSlices(), Options: ingress.DefaultOptions(),
	})
	if err != nil {
		t.Fatal(err)
	}
	events, err := loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	controller, err := ingress.NewController(ingress.ControllerConfig{
		Client: client, Ingresses: network.Ingresses(), Classes: network.IngressClasses(),
		Services: services.Core().V1().Services(), Slices: services.Discovery().V1().EndpointSlices(),
		Options: ingress.DefaultOptions(), Own: true, Events: events,
		Publish: types.NamespacedName{Namespace: ingress.Namespace, Name: ingress.Name},
	})
	if err != nil {
		t.Fatal(err)
	}
	proxy := &fakeProxy{changed: make(chan struct{}, 1)}
	place, err := ingress.NewRegistration(ingress.RegistrationConfig{
		Client: node, Slices: services.Discovery().V1().EndpointSlices(), Node: "node-1",
		Addresses: []netip.Addr{netip.MustParseAddr("172.30.0.11")}, Process: proxy,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []informers.SharedInformerFactory{services, ingresses} {
		f.Start(ctx.Done())
		defer f.Shutdown()
	}
	defer cancel() // before the informers are waited for
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{objects.Run, controller.Run, events.Run, place.Run} {
		g.Go(func() error { return run(ctx) })
	}
	eventually(t, "IngressClasses", func() bool {
		list, err := c.admin.NetworkingV1().IngressClasses().List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 2
	})
	got := followIngress(ctx, g, objects)
	makeIngress(ctx, t, c)
	eventually(t, "delivery of the Ingress and of what it names", func() bool {
		return got.has(ingress.KindIngress, "web") && got.has(ingress.KindSecret, "web-tls") && got.has(ingress.KindService, "web")
	})
	proxy.set(true)
	giveAddress(ctx, t, c)
	eventually(t, "address of the Ingress", func() bool { return addressOfIngress(ctx, c) == "192.0.2.1" })
	eventually(t, "event of the Ingress", func() bool {
		list, err := c.admin.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=Sync,involvedObject.name=web"})
		return err == nil && len(list.Items) == 1 && list.Items[0].Message == "Scheduled for sync"
	})
	// Without a proxy there is nobody at the address.
	proxy.set(false)
	eventually(t, "address taken away", func() bool { return addressOfIngress(ctx, c) == "" })
	if got.has(ingress.KindSecret, "other") {
		t.Error("a Secret was read that no Ingress names")
	}
	testClassesStayAway(ctx, t, c)
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	for _, r := range c.refusals()[before:] {
		t.Errorf("refused: %s", r)
	}
}

// testClassesStayAway checks that it is remembered that the IngressClasses were made.
func testClassesStayAway(ctx context.Context, t *testing.T, c *cluster) {
	t.Helper()
	maps, err := c.admin.CoreV1().ConfigMaps(ingress.Namespace).Get(ctx, "minato-ingress-classes", metav1.GetOptions{})
	if err != nil || maps.Data["made"] == "" {
		t.Errorf("nothing remembers that the IngressClasses were made: %v, %v", maps, err)
	}
}

type delivered struct {
	mu  sync.Mutex
	set map[ingress.Key]bool
}

func (d *delivered) has(k ingress.Kind, name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.set[ingress.Key{Kind: k, Namespace: "default", Name: name}]
}

func followIngress(ctx context.Context, g *errgroup.Group, o *ingress.Objects) *delivered {
	d := &delivered{set: map[ingress.Key]bool{}}
	g.Go(func() error {
		return o.Follow(ctx, func(batch []ingress.Change, _ bool) {
			d.mu.Lock()
			defer d.mu.Unlock()
			for _, c := range batch {
				d.set[c.Key] = c.Object != nil
			}
		})
	})
	return d
}

func makeIngress(ctx context.Context, t *testing.T, c *cluster) {
	t.Helper()
	core := c.admin.CoreV1()
	for _, name := range []string{"web-tls", "other"} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"a": []byte("b")}}
		if _, err := core.Secrets("default").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := core.Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	exact := networkingv1.PathTypePrefix
	class := ingress.ClassMinato
	_, err := c.admin.NetworkingV1().Ingresses("default").Create(ctx, &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: networkingv1.IngressSpec{
			IngressClassName: &class,
			TLS:              []networkingv1.IngressTLS{{SecretName: "web-tls"}},
			Rules: []networkingv1.IngressRule{{IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &exact, Backend: networkingv1.IngressBackend{
					Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
				}}},
			}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// giveAddress does what gives addresses in a cluster.
func giveAddress(ctx context.Context, t *testing.T, c *cluster) {
	t.Helper()
	services := c.admin.CoreV1().Services(ingress.Namespace)
	eventually(t, "Service of the ingress", func() bool {
		s, err := services.Get(ctx, ingress.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		_, err = services.UpdateStatus(ctx, s, metav1.UpdateOptions{})
		return err == nil
	})
}

func addressOfIngress(ctx context.Context, c *cluster) string {
	ing, err := c.admin.NetworkingV1().Ingresses("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil || len(ing.Status.LoadBalancer.Ingress) == 0 {
		return ""
	}
	return ing.Status.LoadBalancer.Ingress[0].IP
}
