package metrics

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/dataplane"
)

type source struct{ err error }

func (s source) Traffic() ([]dataplane.Traffic, error) {
	return []dataplane.Traffic{
		{ServicePortName: web(false), Backend: netip.MustParseAddrPort("10.244.1.2:8080"), Connections: 7, Packets: 40, Bytes: 4000},
	}, s.err
}

func web(ipv6 bool) dataplane.ServicePortName {
	return dataplane.ServicePortName{Service: types.NamespacedName{Namespace: "shop", Name: "web"}, PortName: "http", Protocol: "TCP", IPv6: ipv6}
}

func (s source) Visits() ([]dataplane.Visits, error) {
	return []dataplane.Visits{
		{ServicePortName: web(false), Addr: netip.MustParseAddr("10.96.1.1"), Port: 80, From: "inside", Connections: 6, Refused: 2},
		{ServicePortName: web(false), Port: 30080, From: "outside", Connections: 1, Dropped: 3},
		{ServicePortName: web(true), Addr: netip.MustParseAddr("fd00:96::1"), Port: 80, From: "inside", Refused: 1},
	}, s.err
}

func (s source) Counters() (map[string]uint64, error) {
	return map[string]uint64{"packets rejected": 5}, s.err
}

func newServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(s *Server, path string) (int, string) {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestFigures(t *testing.T) {
	s := newServer(t, Config{Source: source{}, Healthy: func() bool { return true }})
	s.Applied(3, 2*time.Millisecond)
	s.Programmed(30 * time.Millisecond)
	code, text := get(s, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, text)
	}
	for _, want := range []string{
		`minato_service_connections_total{endpoint="10.244.1.2:8080",family="IPv4",namespace="shop",port="http",protocol="TCP",service="web"} 7`,
		`minato_service_packets_total{endpoint="10.244.1.2:8080",family="IPv4",namespace="shop",port="http",protocol="TCP",service="web"} 40`,
		`minato_service_bytes_total{endpoint="10.244.1.2:8080",family="IPv4",namespace="shop",port="http",protocol="TCP",service="web"} 4000`,
		`minato_service_frontend_connections_total{address="10.96.1.1:80",family="IPv4",from="inside",namespace="shop",port="http",protocol="TCP",service="web"} 6`,
		`minato_service_frontend_connections_total{address=":30080",family="IPv4",from="outside",namespace="shop",port="http",protocol="TCP",service="web"} 1`,
		`minato_service_refused_total{address="10.96.1.1:80",family="IPv4",from="inside",namespace="shop",port="http",protocol="TCP",service="web"} 2`,
		`minato_service_refused_total{address="[fd00:96::1]:80",family="IPv6",from="inside",namespace="shop",port="http",protocol="TCP",service="web"} 1`,
		`minato_service_dropped_total{address=":30080",family="IPv4",from="outside",namespace="shop",port="http",protocol="TCP",service="web"} 3`,
		`minato_service_events_total{event="packets_rejected"} 5`,
		`kubeproxy_sync_proxy_rules_service_changes_total 3`,
		`kubeproxy_sync_proxy_rules_duration_seconds_count 1`,
		`kubeproxy_network_programming_duration_seconds_count 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestHealth(t *testing.T) {
	var healthy atomic.Bool
	s := newServer(t, Config{Source: source{}, Healthy: healthy.Load})
	if code, _ := get(s, "/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("unhealthy: %d", code)
	}
	healthy.Store(true)
	if code, body := get(s, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthy: %d %s", code, body)
	}
	if code, body := get(s, "/proxyMode"); code != http.StatusOK || body != Mode {
		t.Errorf("/proxyMode: %d %s", code, body)
	}
}

func TestAFailureToReadIsNoFailureOfTheRest(t *testing.T) {
	s := newServer(t, Config{Source: source{err: errors.New("closed")}, Healthy: func() bool { return true }})
	s.Applied(1, time.Millisecond)
	if code, text := get(s, "/metrics"); code != http.StatusOK || !strings.Contains(text, "service_changes_total 1") {
		t.Errorf("%d: %s", code, text)
	}
}
