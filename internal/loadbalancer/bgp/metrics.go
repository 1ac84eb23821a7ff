package bgp

import "github.com/prometheus/client_golang/prometheus"

// The names and the label are MetalLB's.
var (
	peerLabel = []string{"peer"}

	sessionUp  = prometheus.NewDesc("metallb_bgp_session_up", "BGP session state (1 is up, 0 is down).", peerLabel, nil)
	updates    = prometheus.NewDesc("metallb_bgp_updates_total", "BGP UPDATE messages sent.", peerLabel, nil)
	prefixes   = prometheus.NewDesc("metallb_bgp_announced_prefixes_total", "Prefixes that the peer has been told.", peerLabel, nil)
	bfdUp      = prometheus.NewDesc("metallb_bfd_session_up", "BFD session state (1 is up, 0 is down).", peerLabel, nil)
	bfdPackets = map[bool]*prometheus.Desc{
		true:  prometheus.NewDesc("metallb_bfd_control_packet_input", "BFD control packets received.", peerLabel, nil),
		false: prometheus.NewDesc("metallb_bfd_control_packet_output", "BFD control packets sent.", peerLabel, nil),
	}
)

// collector asks a speaker at each scrape.
type collector struct{ speaker Speaker }

// NewCollector returns the metrics of a speaker's sessions. The speakers of several nodes in one registry need a label
// that tells them apart, which the registry's user adds.
func NewCollector(s Speaker) prometheus.Collector { return &collector{s} }

// Describe is part of prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sessionUp, updates, prefixes, bfdUp, bfdPackets[true], bfdPackets[false]} {
		out <- d
	}
}

// Collect is part of prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.speaker.Sessions() {
		send := func(d *prometheus.Desc, kind prometheus.ValueType, n float64) {
			out <- prometheus.MustNewConstMetric(d, kind, n, s.Address)
		}
		send(sessionUp, prometheus.GaugeValue, number(s.State == Established))
		send(updates, prometheus.CounterValue, float64(s.Updates))
		send(prefixes, prometheus.GaugeValue, float64(len(s.Advertised)))
		if s.BFD == nil {
			continue
		}
		send(bfdUp, prometheus.GaugeValue, number(s.BFD.Up))
		send(bfdPackets[true], prometheus.CounterValue, float64(s.BFD.Received))
		send(bfdPackets[false], prometheus.CounterValue, float64(s.BFD.Sent))
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
