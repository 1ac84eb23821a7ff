package ingress

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

func TestAlone(t *testing.T) {
	t.Parallel()
	w, here, log := newWorld(t), address(), &lockedBuffer{}
	o, _ := w.objects()
	var found sync.Map
	a, err := NewAlone(AloneConfig{
		Objects: o, Facts: func() Facts { return Facts{Node: "node-1", Options: DefaultOptions()} }, Listen: at{ip: here},
		HTTPPort: HTTPPort, HTTPSPort: HTTPSPort, StatusPort: StatusPort, AccessLog: log, Logger: testLogger(t),
		Found: func(all []Findings) {
			for _, f := range all {
				for _, x := range f.List {
					found.Store(f.Ingress.Name+" "+x.Reason, true)
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(context.Background()) }()
	one, _ := backend(t, "one")
	w.service("one", one)
	i := ingressOf("a", "a.test", "one")
	i.Annotations = map[string]string{"nginx.ingress.kubernetes.io/no-such-thing": "x"}
	w.ingress(i)
	answers(t, here, "a.test", 200, "one")
	answers(t, here, "b.test", 404, "")
	status := func(path string) (int, string) {
		resp, err := http.Get(fmt.Sprintf("http://%s%s", netip.AddrPortFrom(here, StatusPort), path))
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	until(t, "it is healthy", func() error {
		if code, body := status("/healthz"); code != 200 {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if _, text := status("/metrics"); !strings.Contains(text, `nginx_ingress_controller_requests{`) || !strings.Contains(text, "nginx_ingress_controller_build_info") {
		t.Errorf("metrics are\n%s", text)
	}
	until(t, "it is told of the annotation", func() error {
		if _, ok := found.Load("a AnnotationUnknown"); !ok {
			return fmt.Errorf("nothing is")
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
			return fmt.Errorf("it is")
		}
		return nil
	})

	a.Unready()
	if code, _ := status("/healthz"); code != 503 {
		t.Errorf("before the end, it is healthy: %d", code)
	}
	answers(t, here, "a.test", 200, "one")
	a.Drain()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
