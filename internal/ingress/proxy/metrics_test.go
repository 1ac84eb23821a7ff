package proxy

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrape returns the metrics in their text form.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatal(w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := NewMetrics(MetricsConfig{ControllerClass: "k8s.io/ingress-nginx", ControllerNamespace: "kube-system", ControllerPod: "node-1", PerHost: true})
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example /shop web")), func(c *Config) { c.Observer = Observers{m, c.Observer} })
	if err := m.Bind(r.Server); err != nil {
		t.Fatal(err)
	}
	m.Reloaded(42, time.Unix(1700000000, 0), nil)
	r.backend("web", serve(t, echo))
	for range 3 {
		_, _ = r.get("a.example", "/shop/1")
	}
	_ = readAll(t, r.ask("MADEUP /shop HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"))
	_, _ = r.get("nowhere.example", "/")
	eventually(t, "all requests are told of", func() bool { r.records.mu.Lock(); defer r.records.mu.Unlock(); return len(r.records.all) == 5 })
	const labels = `controller_class="k8s.io/ingress-nginx",controller_namespace="kube-system",controller_pod="node-1",`
	got := scrape(t, m)
	for _, want := range []string{
		`nginx_ingress_controller_requests{canary="",` + labels + `host="a.example",ingress="a",method="GET",namespace="d",path="/shop",service="web",status="200"} 3`,
		`nginx_ingress_controller_requests{canary="",` + labels + `host="a.example",ingress="a",method="OTHER",namespace="d",path="/shop",service="web",status="200"} 1`,
		`nginx_ingress_controller_request_duration_seconds_bucket{canary="",` + labels + `host="a.example",ingress="a",method="GET",namespace="d",path="/shop",service="web",status="200",le="+Inf"} 3`,
		`nginx_ingress_controller_bytes_sent_count{canary="",` + labels + `host="a.example",ingress="a",method="GET",namespace="d",path="/shop",service="web",status="200"} 3`,
		`status="404"} 1`,
		`nginx_ingress_controller_config_last_reload_successful{` + strings.TrimSuffix(labels, ",") + `} 1`,
		`nginx_ingress_controller_config_hash{` + strings.TrimSuffix(labels, ",") + `} 42`,
		`nginx_ingress_controller_nginx_process_requests_total{` + strings.TrimSuffix(labels, ",") + `} 5`,
		`nginx_ingress_controller_nginx_process_connections_total{` + labels + `state="accepted"} `,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	m.Retain(func(namespace, ingress string) bool { return fmt.Sprint(namespace, ingress) != "da" })
	if got := scrape(t, m); strings.Contains(got, `ingress="a"`) {
		t.Error("series of an Ingress that is gone")
	}
}

// TestMetricsCostNothing: what a request adds to the metrics is added without an allocation.
func TestMetricsCostNothing(t *testing.T) {
	m := NewMetrics(MetricsConfig{})
	tab := tableOf(settings(), ingress("a", nil, "a.example / web"))
	rec := &Record{Exchange: &newFlow(&Server{}).x}
	tab.Match("a.example", "/", &rec.Match)
	rec.Route, rec.Method, rec.Status = rec.Match.Route, "GET", 200
	m.Observe(rec)
	if n := testing.AllocsPerRun(100, func() { m.Observe(rec) }); n > 0 {
		t.Errorf("%v allocations for each request", n)
	}
}
