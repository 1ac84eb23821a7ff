package metrics

import (
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	portLabels     = []string{"namespace", "service", "port", "protocol", "family"}
	endpointLabels = append(portLabels[:len(portLabels):len(portLabels)], "endpoint")

	connections = prometheus.NewDesc("minato_service_connections_total", "Connections and UDP flows that this node sent to an endpoint.", endpointLabels, nil)
	packets     = prometheus.NewDesc("minato_service_packets_total", "Packets translated on their way to and from an endpoint. What processes of the node send needs no translation and is not counted.", endpointLabels, nil)
	bytes       = prometheus.NewDesc("minato_service_bytes_total", "Bytes of those packets.", endpointLabels, nil)
	refused     = prometheus.NewDesc("minato_service_refused_total", "Connections refused because the Service has no endpoints.", portLabels, nil)
	dropped     = prometheus.NewDesc("minato_service_dropped_total", "Packets dropped by a traffic policy or a restriction of sources.", portLabels, nil)
	events      = prometheus.NewDesc("minato_service_events_total", "What happened to packets on this node, whichever the Service.", []string{"event"}, nil)
)

// collector reads the kernel's counters when it is asked.
type collector struct {
	source Source
	log    *slog.Logger
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connections, packets, bytes, refused, dropped, events} {
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
		c.log.Warn("Counters could not be read", "error", err)
	}
	for name, n := range counters {
		send(events, n, strings.ReplaceAll(name, " ", "_"))
	}
	all, err := c.source.Traffic()
	if err != nil {
		c.log.Warn("Counters of Services could not be read", "error", err)
	}
	for _, t := range all {
		labels := []string{t.Service.Namespace, t.Service.Name, t.PortName, t.Protocol, family(t.IPv6)}
		if !t.Backend.IsValid() {
			send(refused, t.Refused, labels...)
			send(dropped, t.Dropped, labels...)
			continue
		}
		labels = append(labels, t.Backend.String())
		send(connections, t.Connections, labels...)
		send(packets, t.Packets, labels...)
		send(bytes, t.Bytes, labels...)
	}
}

func family(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}
