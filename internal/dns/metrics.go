package dns

import (
	"strconv"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics collects a Server's counters for Prometheus. They have CoreDNS's names
// where they mean the same, so that its dashboards work, and CoreDNS's labels
// for the server and its zone.
type Metrics struct {
	server *Server
	store  *Store
	labels []string // values of "server", "zone" and "view"
}

// NewMetrics makes the collector of a Server; store may be nil. The caller
// registers it.
func NewMetrics(server *Server, store *Store) *Metrics {
	name := "dns://"
	for _, c := range server.cfg.PacketConns {
		name += c.LocalAddr().String()
		break
	}
	return &Metrics{server: server, store: store, labels: []string{name, ".", ""}}
}

// Describe implements prometheus.Collector. It describes nothing, so that the registry checks the metrics when they are
// collected.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

func (m *Metrics) desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"server", "zone", "view"}, labels...), nil)
}

func (m *Metrics) emit(ch chan<- prometheus.Metric, kind prometheus.ValueType, name, help string, value float64, pairs ...string) {
	var names []string
	values := m.labels
	for i := 0; i < len(pairs); i += 2 {
		names, values = append(names, pairs[i]), append(values[:len(values):len(values)], pairs[i+1])
	}
	ch <- prometheus.MustNewConstMetric(m.desc(name, help, names...), kind, value, values...)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	all := []*trafficStats{m.server.stats}
	for _, l := range m.server.packets {
		all = append(all, l.stats)
	}
	m.requests(ch, all)
	m.histograms(ch, all)
	m.forwarding(ch)
	m.state(ch)
}

func (m *Metrics) requests(ch chan<- prometheus.Metric, all []*trafficStats) {
	for proto, protoName := range protoNames() {
		for family, familyName := range familyNames() {
			for i := range len(countedTypes) + 1 {
				n := uint64(0)
				for _, t := range all {
					n += t.requests[proto][family][i].Load()
				}
				if n == 0 {
					continue
				}
				typ := "other"
				if i < len(countedTypes) {
					typ = dns.TypeToString[countedTypes[i]]
				}
				m.emit(ch, prometheus.CounterValue, "coredns_dns_requests_total", "Questions by protocol, family and type.", float64(n),
					"proto", protoName, "family", familyName, "type", typ)
			}
		}
	}
	for code := range rcodes {
		n := uint64(0)
		for _, t := range all {
			n += t.rcodes[code].Load()
		}
		if n > 0 {
			m.emit(ch, prometheus.CounterValue, "coredns_dns_responses_total", "Answers by response code.", float64(n),
				"rcode", dns.RcodeToString[code])
		}
	}
}

func (m *Metrics) histograms(ch chan<- prometheus.Metric, all []*trafficStats) {
	pick := func(fn func(*trafficStats) *buckets) []*buckets {
		var out []*buckets
		for _, t := range all {
			out = append(out, fn(t))
		}
		return out
	}
	m.histogram(ch, "coredns_dns_request_duration_seconds", "Time from a question to its answer.", float64(time.Second),
		pick(func(t *trafficStats) *buckets { return &t.durations }))
	for proto, name := range protoNames() {
		m.histogram(ch, "coredns_dns_request_size_bytes", "Size of questions.", 1,
			pick(func(t *trafficStats) *buckets { return &t.asked[proto] }), "proto", name)
		m.histogram(ch, "coredns_dns_response_size_bytes", "Size of answers.", 1,
			pick(func(t *trafficStats) *buckets { return &t.answered[proto] }), "proto", name)
	}
}

func (m *Metrics) histogram(ch chan<- prometheus.Metric, name, help string, unit float64, all []*buckets, pairs ...string) {
	var names []string
	values := m.labels
	for i := 0; i < len(pairs); i += 2 {
		names, values = append(names, pairs[i]), append(values[:len(values):len(values)], pairs[i+1])
	}
	total, sum := uint64(0), uint64(0)
	cumulative := map[float64]uint64{}
	for i := range all[0].counts {
		for _, b := range all {
			total += b.counts[i].Load()
		}
		if i < len(all[0].bounds) {
			cumulative[all[0].bounds[i]] = total
		}
	}
	for _, b := range all {
		sum += b.sum.Load()
	}
	ch <- prometheus.MustNewConstHistogram(m.desc(name, help, names...), total, float64(sum)/unit, cumulative, values...)
}

func (m *Metrics) forwarding(ch chan<- prometheus.Metric) {
	f := m.server.forwarder
	counter := func(name, help string, v uint64, pairs ...string) {
		m.emit(ch, prometheus.CounterValue, name, help, float64(v), pairs...)
	}
	counter("coredns_cache_hits_total", "Questions answered from the cache.", f.stats.hits.Load())
	counter("coredns_cache_misses_total", "Questions that the cache had no fresh answer for.", f.stats.misses.Load())
	counter("coredns_cache_served_stale_total", "Expired answers that were given because no upstream answered in time.", f.stats.staleServed.Load())
	counter("coredns_cache_prefetch_total", "Answers that were renewed before they expired.", f.stats.prefetched.Load())
	counter("coredns_cache_evictions_total", "Answers that were removed because the cache was full.", f.cache.evicted.Load())
	m.emit(ch, prometheus.GaugeValue, "coredns_cache_entries", "Answers in the cache.", float64(f.cache.entries.Load()))
	m.emit(ch, prometheus.GaugeValue, "minato_dns_cache_bytes", "Size of the cache.", float64(f.cache.bytes.Load()))
	counter("coredns_forward_max_concurrent_rejects_total", "Questions refused because too many were waiting for upstreams.", f.stats.rejected.Load())
	counter("coredns_forward_healthcheck_broken_total", "Probes that an upstream did not answer.", f.stats.broken.Load())
	counter("minato_dns_upstream_requests_total", "Questions sent to upstreams.", f.stats.asked.Load())
	counter("minato_dns_upstream_failures_total", "Questions that an upstream did not answer.", f.stats.failed.Load())
	m.emit(ch, prometheus.CounterValue, "minato_dns_upstream_seconds_total", "Time waited for upstreams.", time.Duration(f.stats.seconds.Load()).Seconds())
	for server, up := range f.states() {
		m.emit(ch, prometheus.GaugeValue, "minato_dns_upstream_up", "Whether an upstream is up: 1, or 0 while it does not answer or sends questions back to this server.", up, "to", server)
	}
}

func (m *Metrics) state(ch chan<- prometheus.Metric) {
	s := m.server.cfg.Settings
	m.emit(ch, prometheus.CounterValue, "coredns_reload_failed_total", "Configurations that were invalid and not used.", float64(s.failed.Load()))
	m.emit(ch, prometheus.CounterValue, "minato_dns_reloads_total", "Configurations that took effect.", float64(s.reloads.Load()))
	m.emit(ch, prometheus.GaugeValue, "minato_dns_questions_in_work", "Questions that are being answered, without those that are answered at once from the zone or the cache.", float64(m.server.inFlight.Load()))
	if m.store == nil {
		return
	}
	if snap := m.store.Snapshot(); snap != nil {
		m.emit(ch, prometheus.GaugeValue, "minato_dns_services", "Services in the zone.", float64(snap.Services()))
		m.emit(ch, prometheus.CounterValue, "minato_dns_zone_changes_total", "Snapshots of the zone since the start.", float64(snap.Serial()))
	}
	m.emit(ch, prometheus.GaugeValue, "minato_dns_ready", "Whether the server is ready: every source has been read and every socket is served.", boolValue(m.server.Ready() == nil), "sockets", strconv.Itoa(len(m.server.packets)+len(m.server.streams)))
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// states tells for each upstream whether it answers and is in no loop.
func (f *forwarder) states() map[string]float64 {
	out := map[string]float64{}
	all := f.all()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range all {
		h := f.health[u]
		out[u.String()] = boolValue(h == nil || h.failed.IsZero() && !h.looped)
	}
	return out
}
