package proxy

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"minato/internal/ingress/table"
)

// MetricsConfig describes Metrics.
type MetricsConfig struct {
	// ControllerClass, ControllerNamespace and ControllerPod are labels of every metric, as ingress-nginx has them.
	ControllerClass, ControllerNamespace, ControllerPod string
	// PerHost adds the label host (ingress-nginx's --metrics-per-host).
	PerHost bool
}

// Metrics counts requests under ingress-nginx's names, so that its dashboards work. It is an Observer and a
// prometheus.Collector. Its counters are found by the request's Route, not by labels: a request costs a look-up by a
// pointer and a few additions.
type Metrics struct {
	cfg    MetricsConfig
	server atomic.Pointer[Server]
	routes atomic.Pointer[sync.Map] // *table.Route to *routeSeries
	mu     sync.Mutex
	series map[seriesKey]*series

	descs      map[string]*prometheus.Desc
	reloads    atomic.Uint64
	failures   atomic.Uint64
	configHash atomic.Uint64
	configGood atomic.Bool
	configTime atomic.Int64
}

// seriesKey are the labels of one series.
type seriesKey struct {
	host, path, namespace, ingress, service, canary, method string
	status                                                  int
}

// series counts what its labels say.
type series struct {
	requests                           atomic.Uint64
	request, response, connect, header timeHistogram
	requestSize, responseSize          lengthHistogram
	bytesSent                          sizeHistogram
}

// The buckets of ingress-nginx: Prometheus' defaults for times in seconds, 10 to 100 for lengths, and powers of ten for sizes.
var (
	timeBuckets   = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	lengthBuckets = [...]float64{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}
	sizeBuckets   = [...]float64{10, 100, 1000, 10000, 100000, 1000000, 10000000}
)

type timeHistogram struct {
	counts [len(timeBuckets) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (h *timeHistogram) observe(d time.Duration) {
	h.counts[bucketOf(timeBuckets[:], d.Seconds())].Add(1)
	h.sum.Add(int64(d))
}

type lengthHistogram struct {
	counts [len(lengthBuckets) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (h *lengthHistogram) observe(n int64) {
	h.counts[bucketOf(lengthBuckets[:], float64(n))].Add(1)
	h.sum.Add(n)
}

type sizeHistogram struct {
	counts [len(sizeBuckets) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (h *sizeHistogram) observe(n int64) {
	h.counts[bucketOf(sizeBuckets[:], float64(n))].Add(1)
	h.sum.Add(n)
}

func bucketOf(bounds []float64, v float64) int {
	for i, b := range bounds {
		if v <= b {
			return i
		}
	}
	return len(bounds)
}

// routeSeries are the series of one route; there are few, one for each status and method that has occurred.
type routeSeries struct {
	all atomic.Pointer[[]routeEntry]
}

type routeEntry struct {
	method string
	status int
	canary *table.Upstream
	series *series
}

const metricsPrefix = "nginx_ingress_controller_"

// requestMetrics are those with the labels of a request, and their texts.
var requestMetrics = []struct{ name, help string }{
	{"requests", "The total number of client requests"},
	{"request_duration_seconds", "The request processing time in seconds"},
	{"response_duration_seconds", "The time spent on receiving the response from the upstream server"},
	{"connect_duration_seconds", "The time spent on establishing a connection with the upstream server"},
	{"header_duration_seconds", "The time spent on receiving first header from the upstream server"},
	{"request_size", "The request length (including request line, header, and request body)"},
	{"response_size", "The response length (including request line, header, and request body)"},
	{"bytes_sent", "The number of bytes sent to a client"},
}

// NewMetrics returns Metrics that have counted nothing. They are the caller's to register.
func NewMetrics(cfg MetricsConfig) *Metrics {
	m := &Metrics{cfg: cfg, series: map[seriesKey]*series{}, descs: map[string]*prometheus.Desc{}}
	m.routes.Store(&sync.Map{})
	labels := []string{"status", "method", "path", "namespace", "ingress", "service", "canary"}
	if cfg.PerHost {
		labels = append(labels, "host")
	}
	for _, d := range requestMetrics {
		m.desc(metricsPrefix+d.name, d.help, labels...)
	}
	m.desc(metricsPrefix+"nginx_process_connections", "current number of client connections with state {active, reading, writing, waiting}", "state")
	m.desc(metricsPrefix+"nginx_process_connections_total", "total number of connections with state {accepted, handled}", "state")
	m.desc(metricsPrefix+"nginx_process_requests_total", "total number of client requests")
	m.desc(metricsPrefix+"config_hash", "Running configuration hash actually running")
	m.desc(metricsPrefix+"config_last_reload_successful", "Whether the last configuration reload attempt was successful")
	m.desc(metricsPrefix+"config_last_reload_successful_timestamp_seconds", "Timestamp of the last successful configuration reload.")
	m.desc(metricsPrefix+"success", "Cumulative number of Ingress controller reload operations")
	m.desc(metricsPrefix+"errors", "Cumulative number of Ingress controller errors during reload operations")
	return m
}

func (m *Metrics) desc(name, help string, labels ...string) {
	m.descs[name] = prometheus.NewDesc(name, help, labels, prometheus.Labels{
		"controller_class": m.cfg.ControllerClass, "controller_namespace": m.cfg.ControllerNamespace, "controller_pod": m.cfg.ControllerPod,
	})
}

// Bind has the connections of a Server counted, too.
func (m *Metrics) Bind(s *Server) error {
	if s == nil {
		return errors.New("there is no server to count the connections of")
	}
	m.server.Store(s)
	return nil
}

// Reloaded tells that a table was put in place, or that this failed. hash is any number that names what it was made of.
func (m *Metrics) Reloaded(hash uint64, now time.Time, err error) {
	m.configGood.Store(err == nil)
	if err != nil {
		m.failures.Add(1)
		return
	}
	m.reloads.Add(1)
	m.configHash.Store(hash)
	m.configTime.Store(now.Unix())
}

// Retain forgets the series of Ingresses that are gone: those for which keep is false.
func (m *Metrics) Retain(keep func(namespace, ingress string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.series {
		if k.ingress != "" && !keep(k.namespace, k.ingress) {
			delete(m.series, k)
		}
	}
	m.routes.Store(&sync.Map{})
}

// Observe implements Observer.
func (m *Metrics) Observe(r *Record) {
	if r.Route == nil {
		return
	}
	s := m.of(r)
	s.requests.Add(1)
	s.request.observe(r.Duration)
	s.requestSize.observe(requestLength(r.Exchange))
	s.responseSize.observe(r.Sent)
	s.bytesSent.observe(r.Sent)
	if n := len(r.Attempts); n > 0 {
		a := &r.Attempts[n-1]
		s.connect.observe(a.Connect)
		s.header.observe(a.Header)
		s.response.observe(a.Duration)
	}
}

// of returns the series of a request.
func (m *Metrics) of(r *Record) *series {
	routes := m.routes.Load()
	v, ok := routes.Load(r.Route)
	if !ok {
		v, _ = routes.LoadOrStore(r.Route, &routeSeries{})
	}
	rs := v.(*routeSeries)
	var canary *table.Upstream
	if r.Canary != nil {
		canary = r.Canary.Upstream
	}
	if all := rs.all.Load(); all != nil {
		for i := range *all {
			e := &(*all)[i]
			if e.status == r.Status && e.canary == canary && e.method == r.Method {
				return e.series
			}
		}
	}
	return m.enter(rs, r, canary)
}

// enter finds or makes the series by its labels.
func (m *Metrics) enter(rs *routeSeries, r *Record, canary *table.Upstream) *series {
	method := methodLabel(r.Method)
	k := seriesKey{path: r.Route.Path, namespace: r.Route.Namespace, ingress: r.Route.Ingress, method: method, status: r.Status}
	if b := r.Route.Backend; b != nil {
		k.service = b.Service
	}
	if canary != nil {
		k.canary = canary.Namespace + "-" + canary.Service + "-" + canary.Port
	}
	if m.cfg.PerHost {
		if k.host = r.Route.Host; k.host == "" {
			k.host = "_"
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.series[k]
	if s == nil {
		s = &series{}
		m.series[k] = s
	}
	if method != r.Method {
		return s // methods that a client makes up are not remembered
	}
	var all []routeEntry
	if old := rs.all.Load(); old != nil {
		all = append(all, *old...)
	}
	all = append(all, routeEntry{method: method, status: r.Status, canary: canary, series: s})
	rs.all.Store(&all)
	return s
}

// methodLabel keeps clients from making series without end.
func methodLabel(method string) string {
	for _, m := range [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT"} {
		if m == method {
			return m
		}
	}
	return "OTHER"
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	// Routes that are gone are forgotten with the map; those that are not are entered again.
	m.routes.Store(&sync.Map{})
	m.mu.Lock()
	keys := make([]seriesKey, 0, len(m.series))
	all := make([]*series, 0, len(m.series))
	for k, s := range m.series {
		keys, all = append(keys, k), append(all, s)
	}
	m.mu.Unlock()
	for i, k := range keys {
		m.collectSeries(ch, k, all[i])
	}
	gauge := func(name string, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(m.descs[metricsPrefix+name], kind, v, labels...)
	}
	good := 0.0
	if m.configGood.Load() {
		good = 1
	}
	gauge("config_last_reload_successful", prometheus.GaugeValue, good)
	gauge("config_last_reload_successful_timestamp_seconds", prometheus.GaugeValue, float64(m.configTime.Load()))
	gauge("config_hash", prometheus.GaugeValue, float64(m.configHash.Load()))
	gauge("success", prometheus.CounterValue, float64(m.reloads.Load()))
	gauge("errors", prometheus.CounterValue, float64(m.failures.Load()))
	s := m.server.Load()
	if s == nil {
		return
	}
	waiting, writing := s.connectionStates()
	gauge("nginx_process_connections", prometheus.GaugeValue, float64(waiting+writing), "active")
	gauge("nginx_process_connections", prometheus.GaugeValue, 0, "reading")
	gauge("nginx_process_connections", prometheus.GaugeValue, float64(writing), "writing")
	gauge("nginx_process_connections", prometheus.GaugeValue, float64(waiting), "waiting")
	accepted := float64(s.accepted.Load())
	gauge("nginx_process_connections_total", prometheus.CounterValue, accepted, "accepted")
	gauge("nginx_process_connections_total", prometheus.CounterValue, accepted, "handled")
	gauge("nginx_process_requests_total", prometheus.CounterValue, float64(s.requests.Load()))
}

func (m *Metrics) collectSeries(ch chan<- prometheus.Metric, k seriesKey, s *series) {
	labels := []string{strconv.Itoa(k.status), k.method, k.path, k.namespace, k.ingress, k.service, k.canary}
	if m.cfg.PerHost {
		labels = append(labels, k.host)
	}
	ch <- prometheus.MustNewConstMetric(m.descs[metricsPrefix+"requests"], prometheus.CounterValue, float64(s.requests.Load()), labels...)
	histogram := func(name string, bounds []float64, counts []atomic.Uint64, sum float64) {
		buckets := make(map[float64]uint64, len(bounds))
		var total uint64
		for i := range counts {
			total += counts[i].Load()
			if i < len(bounds) {
				buckets[bounds[i]] = total
			}
		}
		ch <- prometheus.MustNewConstHistogram(m.descs[metricsPrefix+name], total, sum, buckets, labels...)
	}
	for name, h := range map[string]*timeHistogram{
		"request_duration_seconds": &s.request, "response_duration_seconds": &s.response,
		"connect_duration_seconds": &s.connect, "header_duration_seconds": &s.header,
	} {
		histogram(name, timeBuckets[:], h.counts[:], time.Duration(h.sum.Load()).Seconds())
	}
	for name, h := range map[string]*lengthHistogram{"request_size": &s.requestSize, "response_size": &s.responseSize} {
		histogram(name, lengthBuckets[:], h.counts[:], float64(h.sum.Load()))
	}
	histogram("bytes_sent", sizeBuckets[:], s.bytesSent.counts[:], float64(s.bytesSent.sum.Load()))
}

// connectionStates counts the connections that wait for a request, and the others.
func (s *Server) connectionStates() (waiting, writing int) {
	s.watches.each(func(w *watch) {
		switch {
		case w.client == nil:
		case w.client.state.Load() == connIdle:
			waiting++
		default:
			writing++
		}
	})
	return waiting, writing
}
