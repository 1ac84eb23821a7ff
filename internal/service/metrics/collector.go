package metrics

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"minato/internal/service/dataplane"
)

var (
	portLabels     = []string{"namespace", "service", "port", "protocol", "family"}
	endpointLabels = append(portLabels[:len(portLabels):len(portLabels)], "endpoint")
	// The number of frontends depends on the Services alone, and not on the number of clients.
	frontendLabels = append(portLabels[:len(portLabels):len(portLabels)], "address", "from")

	connections = prometheus.NewDesc("minato_service_connections_total", "Connections and UDP flows that this node sent to an endpoint.", endpointLabels, nil)
	arrived     = prometheus.NewDesc("minato_service_frontend_connections_total", "Connections and UDP flows that came to an address of a Service and were sent to an endpoint.", frontendLabels, nil)
	packets     = prometheus.NewDesc("minato_service_packets_total", "Packets translated on their way to and from an endpoint. What processes of the node send needs no translation and is not counted.", endpointLabels, nil)
	bytes       = prometheus.NewDesc("minato_service_bytes_total", "Bytes of those packets.", endpointLabels, nil)
	refused     = prometheus.NewDesc("minato_service_refused_total", "Connections to an address of a Service that were refused because it has no endpoints.", frontendLabels, nil)
	dropped     = prometheus.NewDesc("minato_service_dropped_total", "Packets to an address of a Service that were dropped by a traffic policy, a restriction of sources, or for want of a source port.", frontendLabels, nil)
	events      = prometheus.NewDesc("minato_service_events_total", "What happened to packets on this node, whichever the Service.", []string{"event"}, nil)
)

// collector reads the kernel's counters at each scrape.
type collector struct {
	source Source
	log    *slog.Logger
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connections, packets, bytes, arrived, refused, dropped, events} {
		out <- d
	}
}

// Collect is part of prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counters, err := c.source.Counters()
	if err != nil {
		c.log.Warn("The counters of packets could not be read; they are missing from the metrics this time", "error", err)
	}
	for name, n := range counters {
		send(events, n, strings.ReplaceAll(name, " ", "_"))
	}
	all, err := c.source.Traffic()
	if err != nil {
		c.log.Warn("The counters of Services could not be read; some are missing from the metrics this time", "error", err)
	}
	for _, t := range all {
		labels := labelsOf(t.ServicePortName, t.Backend.String())
		send(connections, t.Connections, labels...)
		send(packets, t.Packets, labels...)
		send(bytes, t.Bytes, labels...)
	}
	came, err := c.source.Visits()
	if err != nil {
		c.log.Warn("The counters of frontends could not be read; some are missing from the metrics this time", "error", err)
	}
	for _, v := range came {
		labels := labelsOf(v.ServicePortName, address(v), v.From)
		send(arrived, v.Connections, labels...)
		send(refused, v.Refused, labels...)
		send(dropped, v.Dropped, labels...)
	}
}

// labelsOf returns the labels of a Service port, followed by more.
func labelsOf(n dataplane.ServicePortName, more ...string) []string {
	family := "IPv4"
	if n.IPv6 {
		family = "IPv6"
	}
	return append([]string{n.Service.Namespace, n.Service.Name, n.PortName, n.Protocol, family}, more...)
}

// address writes the address and port of a frontend. A NodePort, which has every address of the node, is written as :PORT.
func address(v dataplane.Visits) string {
	if !v.Addr.IsValid() {
		return fmt.Sprintf(":%d", v.Port)
	}
	return netip.AddrPortFrom(v.Addr, v.Port).String()
}
