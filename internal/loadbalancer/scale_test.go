package loadbalancer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// crowd makes n Services at once.
func (w *world) crowd(n int) {
	w.t.Helper()
	for i := range n {
		w.api.create(loadBalancer(fmt.Sprintf("crowd-%d", i)))
	}
	w.eventually("all addresses", func() bool {
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		has := 0
		for _, s := range w.api.services {
			if len(s.Status.LoadBalancer.Ingress) > 0 {
				has++
			}
		}
		return has == n
	}, func() any { return len(w.Snapshot().Services) })
}

// Two thousand Services come at once: each gets an address of its own, in one write.
func TestManyServices(t *testing.T) {
	const n = 2000
	w := newWorld(t, ipPool("large", "192.168.0.0/20"))
	w.start()
	began := time.Now()
	w.crowd(n)
	t.Logf("%d Services had addresses after %v", n, time.Since(began))
	w.noneTwice()
	w.settled()
	if got := len(w.api.written()); got > n+10 {
		t.Errorf("%d writes for %d Services", got, n)
	}
	if got := w.events.about("crowd-7"); len(got) != 3 {
		t.Errorf("events %q", got)
	}
}

// BenchmarkChangeAmong2000 is the time from a change of one Service to its address in the API.
func BenchmarkChangeAmong2000(b *testing.B) {
	w := newWorld(b, ipPool("large", "192.168.0.0/20"))
	w.start()
	w.crowd(2000)
	i := 0
	for b.Loop() {
		i++
		want := fmt.Sprintf("192.168.15.%d", i%2+1)
		w.api.change(b, key("crowd-1000"), requesting(want))
		for w.addresses("crowd-1000") != want {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// BenchmarkCreate2000 is the time until 2000 new Services have addresses.
func BenchmarkCreate2000(b *testing.B) {
	for b.Loop() {
		w := newWorld(b, ipPool("large", "192.168.0.0/20"))
		w.start()
		w.crowd(2000)
		w.stop()
	}
}

func TestMetricsAndSnapshot(t *testing.T) {
	w := newWorld(t, ipPool("mine", "192.0.2.0/30"))
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantEvents("web", assigned("192.0.2.0")...)
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(w.Controller); err != nil {
		t.Fatal(err)
	}
	const want = `
# HELP metallb_allocator_addresses_in_use_total Addresses of the pool that Services have.
# TYPE metallb_allocator_addresses_in_use_total gauge
metallb_allocator_addresses_in_use_total{pool="mine"} 1
metallb_allocator_addresses_in_use_total{pool="minato-default"} 0
# HELP metallb_allocator_ipv4_addresses_total IPv4 addresses of the pool.
# TYPE metallb_allocator_ipv4_addresses_total gauge
metallb_allocator_ipv4_addresses_total{pool="mine"} 4
metallb_allocator_ipv4_addresses_total{pool="minato-default"} 250
# HELP metallb_allocator_services_allocated_total Services with an address of the pool.
# TYPE metallb_allocator_services_allocated_total gauge
metallb_allocator_services_allocated_total{pool="mine"} 1
metallb_allocator_services_allocated_total{pool="minato-default"} 0
# HELP metallb_k8s_client_config_loaded_bool Whether the configuration was read.
# TYPE metallb_k8s_client_config_loaded_bool gauge
metallb_k8s_client_config_loaded_bool 1
# HELP metallb_k8s_client_config_stale_bool Whether a part of the configuration can't be honoured.
# TYPE metallb_k8s_client_config_stale_bool gauge
metallb_k8s_client_config_stale_bool 0
`
	err := testutil.GatherAndCompare(registry, strings.NewReader(want), "metallb_allocator_addresses_in_use_total", "metallb_allocator_ipv4_addresses_total",
		"metallb_allocator_services_allocated_total", "metallb_k8s_client_config_loaded_bool", "metallb_k8s_client_config_stale_bool")
	if err != nil {
		t.Error(err)
	}
	s := w.Snapshot()
	if len(s.Services) != 1 || s.Services[0].Name != "web" || s.Services[0].Decision.Pool != "mine" || len(s.Services[0].Decision.Why) == 0 || len(s.Services[0].Published) != 1 {
		t.Errorf("services %+v", s.Services)
	}
	if len(s.Pools) != 2 || s.Pools[1].Ranges[0] != "192.0.2.0-192.0.2.3" || s.Pools[1].Usage.AvailableIPv4 != 3 || !s.Pools[0].Default {
		t.Errorf("pools %+v", s.Pools)
	}
}
