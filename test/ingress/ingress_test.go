package ingress

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/test/lab"
)

// One world serves all parts in turn; the last one ends the ingress.
func TestIngress(t *testing.T) {
	w := newWorld(t)
	w.prepare()
	for _, r := range w.replica[1:] {
		r.start("--default-backend-service=default/fallback", "--tcp-services-configmap="+namespace+"/tcp-services")
	}
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"routes", w.testRoutes},
		{"certificates", w.testCertificates},
		{"status and events", w.testStatus},
		{"streams", w.testStreams},
		{"metrics", w.testMetrics},
		{"other endpoints", w.testEndpoints},
		{"end and start", w.testRestart},
		{"kill", w.testKill},
		{"ports", w.testPorts},
		{"check", w.testCheck},
		{"rights", w.testRights},
		{"end of the last", w.testLast},
	} {
		if !t.Run(part.name, func(t *testing.T) {
			w.T, w.Objects.TB = t, t
			part.test(t)
		}) {
			break
		}
	}
	w.T, w.Objects.TB = t, t
}

// prepare makes what there was before Minato: Ingresses as they were written for ingress-nginx, and what they need.
func (w *world) prepare() {
	w.Helper()
	w.backend("one", 1)
	w.backend("two", 2)
	w.backend("fallback", 3)
	w.ingress("shop", nil, [3]string{"shop.test", "/", "one"}, [3]string{"shop.test", "/cart", "two"}, [3]string{"*.shops.test", "/", "two"})
	w.ingress("old", func(ing *networkingv1.Ingress) {
		ing.Spec.IngressClassName = nil
		ing.Annotations["kubernetes.io/ingress.class"] = "nginx"
		ing.Annotations["nginx.ingress.kubernetes.io/rewrite-target"] = "/v2/$1"
	}, [3]string{"old.test", "/api/(.*)", "one"})
	other := "traefik"
	w.ingress("other", func(ing *networkingv1.Ingress) { ing.Spec.IngressClassName = &other }, [3]string{"other.test", "/", "one"})
	w.ingress("unset", func(ing *networkingv1.Ingress) { ing.Spec.IngressClassName = nil }, [3]string{"unset.test", "/", "one"})
	for _, name := range []string{"a", "b"} {
		w.secret(name+"-tls", name+".test")
		w.ingress(name, func(ing *networkingv1.Ingress) {
			ing.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{name + ".test"}, SecretName: name + "-tls"}}
		}, [3]string{name + ".test", "/", "one"})
	}
	w.ingress("bad", func(ing *networkingv1.Ingress) {
		ing.Annotations["nginx.ingress.kubernetes.io/configuration-snippet"] = "more_set_headers \"X-A: b\";"
	}, [3]string{"bad.test", "/", "one"})
	w.configMap("ingress-nginx-controller", map[string]string{"hsts-max-age": "4711"})
	w.configMap("tcp-services", map[string]string{"9000": "default/two:80"})
}

func (w *world) configMap(name string, data map[string]string) {
	w.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	if _, err := w.Client.CoreV1().ConfigMaps(namespace).Create(w.Context(), m, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

// Rules, the old annotation and a rewriting one mean what they did; Ingresses of others are left alone.
func (w *world) testRoutes(t *testing.T) {
	for _, r := range w.replica[1:] {
		r.waitReady()
	}
	w.everywhere("a path", "http://shop.test/", says("p1 / "))
	w.everywhere("a longer path", "http://shop.test/cart/1", says("p2 /cart/1 "))
	w.everywhere("a wildcard host", "http://x.shops.test/", says("p2 / "))
	w.everywhere("the old annotation", "http://old.test/api/x", says("p1 /v2/x "))
	for _, host := range []string{"other.test", "unset.test", "nobody.test"} {
		w.everywhere("no Ingress", "http://"+host+"/", says("p3 / "))
	}
	for _, r := range w.replica[1:] {
		for _, f := range lab.Families {
			if a, err := ask(r.browser(f, false), "http://shop.test/"); err != nil || a.body != "p1 / "+f.Of(clientIP) {
				t.Errorf("the client's address at %s over %s: %q, %v", r.name, f, a.body, err)
			}
		}
	}
}

// Certificates are chosen by the name that the client asks for; with one, HTTP is redirected as ingress-nginx does, and the
// ConfigMap has its say.
func (w *world) testCertificates(t *testing.T) {
	for _, name := range []string{"a.test", "b.test"} {
		w.everywhere("its certificate", "https://"+name+"/", func(a answer) error {
			if got := a.tls.PeerCertificates[0].Subject.CommonName; got != name {
				return fmt.Errorf("the certificate is that of %s", got)
			}
			if got := a.header.Get("Strict-Transport-Security"); got != "max-age=4711; includeSubDomains" {
				return fmt.Errorf("Strict-Transport-Security is %q", got)
			}
			return says("p1 / ")(a)
		})
		w.everywhere("redirect", "http://"+name+"/x", func(a answer) error {
			if got := a.header.Get("Location"); got != "https://"+name+"/x" {
				return fmt.Errorf("Location is %q", got)
			}
			return code(http.StatusPermanentRedirect)(a)
		})
	}
	w.everywhere("no certificate", "https://shop.test/", func(a answer) error {
		if got := a.tls.PeerCertificates[0].Subject.CommonName; got != "Minato Ingress Default Certificate" {
			return fmt.Errorf("the certificate is that of %s", got)
		}
		return says("p1 / ")(a)
	})
}

// Ingresses have the address of the published Service; events tell that they were taken up, and what is not honoured.
func (w *world) testStatus(t *testing.T) {
	services := w.Client.CoreV1().Services(namespace)
	s, err := services.Get(t.Context(), "ingress-nginx-controller", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: published}}
	if _, err := services.UpdateStatus(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop", "old", "a", "bad"} {
		w.hasAddress(name, published)
	}
	w.hasAddress("other", "")
	w.hasAddress("unset", "")
	for object, reason := range map[string]string{"shop": "Sync", "bad": "AnnotationRefused"} {
		lab.Eventually(t, "event "+reason+" of "+object, func() error {
			list, err := w.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=" + reason + ",involvedObject.name=" + object})
			if err != nil {
				return err
			}
			if len(list.Items) != 1 || list.Items[0].Source.Component != "nginx-ingress-controller" {
				return fmt.Errorf("%d events", len(list.Items))
			}
			return nil
		})
	}
	w.everywhere("what is not refused is served", "http://bad.test/", says("p1 / "))
	if list, err := w.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=other"}); err != nil || len(list.Items) > 0 {
		t.Errorf("events of an Ingress of another class: %v, %v", list.Items, err)
	}
}

// The ports of the ConfigMap of TCP services open and close as it changes.
func (w *world) testStreams(t *testing.T) {
	w.everywhere("a stream", "http://any.test:9000/x", says("p2 /x "))
	maps := w.Client.CoreV1().ConfigMaps(namespace)
	m, err := maps.Get(t.Context(), "tcp-services", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.Data = map[string]string{"9001": "default/one:80"}
	if _, err := maps.Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.everywhere("another port", "http://any.test:9001/x", says("p1 /x "))
	for _, r := range w.replica[1:] {
		lab.Eventually(t, "the port is closed", func() error {
			if _, err := ask(r.browser(lab.IPv4, false), "http://any.test:9000/x"); !errors.Is(err, syscall.ECONNREFUSED) {
				return fmt.Errorf("%v", err)
			}
			return nil
		})
	}
}

// Metrics have ingress-nginx's names and labels.
func (w *world) testMetrics(t *testing.T) {
	for _, r := range w.replica[1:] {
		_, text := lab.Get(r.ns, "http://127.0.0.1:10254/metrics")
		found := false
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "nginx_ingress_controller_requests{") {
				continue
			}
			found = found || strings.Contains(line, `host="shop.test"`) && strings.Contains(line, `ingress="shop"`) && strings.Contains(line, `status="200"`) &&
				strings.Contains(line, `controller_class="k8s.io/ingress-nginx"`) && strings.Contains(line, `controller_pod="`+r.name+`"`)
		}
		if !found {
			t.Errorf("no metric of %s counts the requests of shop:\n%s", r.name, text)
		}
	}
}

// load asks replicas again and again until it is told to stop, and returns how many requests there were and the failed ones.
func (w *world) load(host string, replicas ...*replica) (stop func() (int64, []string)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	var all atomic.Int64
	var mu sync.Mutex
	var failed []string
	var wg sync.WaitGroup
	const most = 20000 // requests of one client
	for _, r := range replicas {
		for _, f := range lab.Families {
			for _, keep := range []bool{true, false} {
				wg.Go(func() {
					c := r.browser(f, keep)
					defer c.CloseIdleConnections()
					for i := 0; i < most && ctx.Err() == nil; i++ {
						a, err := ask(c, "http://"+host+"/")
						all.Add(1)
						if err == nil && a.code == http.StatusOK {
							time.Sleep(time.Millisecond)
							continue
						}
						mu.Lock()
						failed = append(failed, fmt.Sprintf("%s over %s, connections kept %v: %d %v", r.name, f, keep, a.code, err))
						mu.Unlock()
					}
				})
			}
		}
	}
	return func() (int64, []string) {
		cancel()
		wg.Wait()
		return all.Load(), failed
	}
}

// behind replaces the endpoints of a Service without a moment in between.
func (w *world) behind(service string, which ...int) {
	w.Helper()
	slices := w.Client.DiscoveryV1().EndpointSlices("default")
	var all []discoveryv1.Endpoint
	for _, i := range which {
		all = append(all, lab.Endpoint(fmt.Sprint("p", i), serverIP(i)))
	}
	if _, err := slices.Get(w.Context(), service+"-ipv4", metav1.GetOptions{}); err != nil {
		w.Endpoints(service, all...)
		return
	}
	for _, f := range lab.Families {
		slice, err := slices.Get(w.Context(), service+strings.ToLower("-"+string(f)), metav1.GetOptions{})
		if err != nil {
			w.Fatal(err)
		}
		slice.Endpoints = nil
		for _, e := range all {
			e.Addresses = []string{f.Of(e.Addresses[0])}
			slice.Endpoints = append(slice.Endpoints, e)
		}
		if _, err := slices.Update(w.Context(), slice, metav1.UpdateOptions{}); err != nil {
			w.Fatal(err)
		}
	}
}

// Endpoints come and go under load without a failed request.
func (w *world) testEndpoints(t *testing.T) {
	stop := w.load("shop.test", w.replica[1:]...)
	for range 10 {
		for i := 1; i <= servers; i++ {
			w.behind("one", i)
			w.everywhere("other endpoints", "http://shop.test/", says(fmt.Sprintf("p%d / ", i)))
		}
	}
	w.behind("one", 1)
	w.everywhere("the first endpoint again", "http://shop.test/", says("p1 / "))
	n, failed := stop()
	if len(failed) > 0 || n < 100 {
		t.Errorf("of %d requests %d failed, such as %.3q", n, len(failed), failed)
	}
	t.Logf("%d requests", n)
}

// A leader that is told to end is not ready any more, finishes what it is at, and makes way for the other one at once.
func (w *world) testRestart(t *testing.T) {
	var old, stays *replica
	lab.Eventually(t, "one of the Pods leads", func() (err error) {
		old, err = w.leader()
		return err
	})
	for _, r := range w.replica[1:] {
		if r != old {
			stays = r
		}
	}
	stop := w.load("shop.test", stays)
	slow := make(chan error, 1)
	go func() {
		a, err := ask(old.browser(lab.IPv4, true), "http://shop.test/slow")
		if err == nil {
			err = says("p1 /slow ")(a)
		}
		slow <- err
	}()
	select {
	case <-w.slow:
	case err := <-slow:
		t.Fatalf("the slow request has ended: %v", err)
	}
	if err := old.running.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "it is not ready any more", func() error {
		if c, body := old.health(); c == http.StatusOK {
			return fmt.Errorf("%d %s", c, body)
		}
		return nil
	})
	if a, err := ask(old.browser(lab.IPv4, false), "http://shop.test/"); err != nil || a.code != http.StatusOK {
		t.Errorf("a new connection to one that is about to end: %+v, %v", a, err)
	}
	if err := <-slow; err != nil {
		t.Errorf("a request that was under way: %v", err)
	}
	<-old.running.Done
	if code := old.running.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("status %d of a process that was told to end:\n%s", code, old.running.Text())
	}
	w.hasAddress("shop", published) // the other Pod serves
	w.ingress("late", nil, [3]string{"late.test", "/", "two"})
	w.hasAddress("late", published)
	if now, err := w.leader(); err != nil || now != stays {
		t.Errorf("the leader is %+v, %v", now, err)
	}
	old.start("--default-backend-service=default/fallback")
	old.waitReady()
	w.everywhere("after the start", "http://late.test/", says("p2 / "))
	if n, failed := stop(); len(failed) > 0 {
		t.Errorf("of %d requests to the other one %d failed, such as %.3q", n, len(failed), failed)
	}
}

// After a crash, the Pod serves again, and leads again if it did.
func (w *world) testKill(t *testing.T) {
	r, err := w.leader()
	if err != nil {
		t.Fatal(err)
	}
	r.running.End(syscall.SIGKILL)
	r.start("--default-backend-service=default/fallback")
	r.waitReady()
	w.everywhere("after the crash", "http://late.test/", says("p2 / "))
	w.hasAddress("shop", published)
	w.ingress("later", nil, [3]string{"later.test", "/", "one"})
	w.hasAddress("later", published)
}

// A port that somebody has, or that the user may not have, is told with what to do.
func (w *world) testPorts(t *testing.T) {
	r := w.replica[1]
	if code, out := lab.Once(t, r.ns, "ingress", "--kubeconfig", w.kubeconfig, "--healthz-port=10255"); code != 1 || !strings.Contains(out, "open the port of --http-port: ") || !strings.Contains(out, "end what has it") {
		t.Errorf("beside another one: status %d\n%s", code, out)
	}
	p := lab.StartAs(t, w.client, filepath.Join(w.dir, "ports.log"), lab.Process{User: nobody}, "ingress", "--kubeconfig", w.kubeconfig)
	<-p.Done
	if code := p.Cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(p.Text(), "CAP_NET_BIND_SERVICE") {
		t.Errorf("without the right to have port 80: status %d\n%s", code, p.Text())
	}
}

// The live cluster is judged as it is served.
func (w *world) testCheck(t *testing.T) {
	code, out := lab.Once(t, w.replica[1].ns, "ingress", "check", "--all", "--kubeconfig", w.cluster.Kubeconfig())
	for _, want := range []string{
		"Ingress default/shop (class nginx)\n", "Ingress default/old (class nginx)\n  honoured  nginx.ingress.kubernetes.io/rewrite-target: /v2/$1\n",
		"  refused   nginx.ingress.kubernetes.io/configuration-snippet: ", "Ingress default/other: not served: ",
		"ConfigMap ingress-nginx/ingress-nginx-controller\n  honoured  hsts-max-age: 4711\n", ", 1 refused\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in what is reported", want)
		}
	}
	if code != 1 || t.Failed() {
		t.Errorf("status %d\n%s", code, out)
	}
}

// The manifest's rights are enough for all of that, and are not more than that.
func (w *world) testRights(t *testing.T) {
	for _, r := range w.replica[1:] {
		for _, word := range []string{"forbidden", "Forbidden", "Unauthorized", "a part failed", "ermission denied"} {
			if text := r.running.Text(); strings.Contains(text, word) {
				t.Errorf("%s: %q in\n%s", r.name, word, text)
			}
		}
	}
}

// The last Pod takes the addresses away, for nobody is at them any more.
func (w *world) testLast(t *testing.T) {
	last, err := w.leader()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range w.replica[1:] {
		if r == last {
			continue
		}
		r.running.End(syscall.SIGTERM)
		if err := w.Client.CoreV1().Pods(namespace).Delete(t.Context(), r.name, *metav1.NewDeleteOptions(0)); err != nil {
			t.Fatal(err)
		}
	}
	w.hasAddress("shop", published)
	last.running.End(syscall.SIGTERM)
	for _, name := range []string{"shop", "old", "a", "later"} {
		w.hasAddress(name, "")
	}
}
