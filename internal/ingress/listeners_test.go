package ingress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"

	"minato/internal/host"
)

// at opens sockets at one address, at ports that nobody else has.
type at struct {
	host.Netns
	ip netip.Addr
}

func (a at) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return a.Netns.Listen(ctx, network, net.JoinHostPort(a.ip.String(), port))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A Node without a Helper has sockets of its own, and those of streams as the settings say.
func TestNodeWithListeners(t *testing.T) {
	t.Parallel()
	w, here, log := newWorld(t), address(), &lockedBuffer{}
	o, _ := w.objects()
	registry := prometheus.NewRegistry()
	n, err := NewNode(NodeConfig{Logger: testLogger(t), Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	open, lists := at{ip: here}, Listeners{AccessLog: log}
	for port, into := range map[int]*[]net.Listener{HTTPPort: &lists.HTTP, HTTPSPort: &lists.HTTPS} {
		l, err := open.Listen(t.Context(), "tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			t.Fatal(err)
		}
		*into = append(*into, l)
	}
	n.Tell(Facts{Node: "node-1", Options: DefaultOptions()})
	n.Listen(lists)
	running(t, func(ctx context.Context) error { return o.Follow(ctx, n.Apply) })
	var found sync.Map
	running(t, func(ctx context.Context) error {
		streams := NewStreamListeners(n)
		defer streams.Close()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-n.Changed():
			}
			if err := streams.Look(ctx, open); err != nil {
				return err
			}
			for _, f := range n.Findings(false) {
				for _, x := range f.List {
					found.Store(f.Ingress.Name+" "+x.Reason, true)
				}
			}
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- n.Run(context.Background()) }()
	one, _ := backend(t, "one")
	w.service("one", one)
	i := ingressOf("a", "a.test", "one")
	i.Annotations = map[string]string{"nginx.ingress.kubernetes.io/no-such-thing": "x"}
	w.ingress(i)
	answers(t, here, "a.test", 200, "one")
	answers(t, here, "b.test", 404, "")
	until(t, "it is ready", func() error {
		if !n.State().Ready {
			return errors.New("it is not")
		}
		return nil
	})
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range gathered {
		names[m.GetName()] = true
	}
	if !names["nginx_ingress_controller_requests"] {
		t.Errorf("no metric counts requests: %v", names)
	}
	until(t, "it is told of the annotation", func() error {
		if _, ok := found.Load("a AnnotationUnknown"); !ok {
			return errors.New("nothing is")
		}
		return nil
	})
	until(t, "requests are logged", func() error {
		if !strings.Contains(log.String(), `"GET / HTTP/1.1" 200`) {
			return fmt.Errorf("the log is %q", log.String())
		}
		return nil
	})

	// A stream, which comes and goes with the ConfigMap.
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "tcp-services", ResourceVersion: "5"}, Data: map[string]string{"19000": "default/one:80"}}
	w.must(w.client.CoreV1().ConfigMaps("ingress-nginx").Create(t.Context(), m, metav1.CreateOptions{}))
	stream := func() error {
		resp, err := http.Get(fmt.Sprintf("http://%s/", netip.AddrPortFrom(here, 19000)))
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	until(t, "the stream is served", stream)
	w.must(nil, w.client.CoreV1().ConfigMaps("ingress-nginx").Delete(t.Context(), "tcp-services", metav1.DeleteOptions{}))
	until(t, "the stream is not served any more", func() error {
		http.DefaultClient.CloseIdleConnections()
		if stream() == nil {
			return errors.New("it is")
		}
		return nil
	})
	n.Drain()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Namespaces come to be served, and cease to be, by their labels.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := informers.NewSharedInformerFactory(w.client, 0)
	o, err := NewObjects(ObjectsConfig{
		Client: w.client, Ingresses: f.Networking().V1().Ingresses(), Classes: f.Networking().V1().IngressClasses(),
		Services: f.Core().V1().Services(), Slices: f.Discovery().V1().EndpointSlices(), Options: DefaultOptions(), Logger: testLogger(t),
		Namespaces: &Namespaces{Informer: f.Core().V1().Namespaces(), Selector: labels.SelectorFromSet(labels.Set{"ingress": "yes"})},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Start(t.Context().Done())
	running(t, o.Run)
	var served sync.Map
	running(t, func(ctx context.Context) error {
		return o.Follow(ctx, func(batch []Change, _ bool) {
			for _, c := range batch {
				served.Store(c.Key, c.Object != nil)
			}
		})
	})
	w.ingress(ingressOf("a", "a.test", "one"))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	w.must(w.client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}))
	for _, want := range []bool{true, false, true} {
		ns = ns.DeepCopy()
		ns.Labels = map[string]string{"ingress": map[bool]string{true: "yes", false: "no"}[want]}
		w.must(w.client.CoreV1().Namespaces().Update(t.Context(), ns, metav1.UpdateOptions{}))
		until(t, fmt.Sprintf("the Ingress is served: %v", want), func() error {
			if got, ok := served.Load(Key{Kind: KindIngress, Namespace: "default", Name: "a"}); !ok || got != want {
				return fmt.Errorf("%v, %v", got, ok)
			}
			return nil
		})
	}
}
