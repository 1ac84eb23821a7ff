package loadbalancer

import (
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// Ready tells whether everything that was there when Run began is announced.
func (n *Node) Ready() bool {
	n.decider.mu.Lock()
	defer n.decider.mu.Unlock()
	return n.decider.settled
}

// announcement is an address of a Service that a node announces.
type announcement struct {
	service types.NamespacedName
	addr    netip.Addr
}

// announced are the addresses that this node announces.
func (d *decider) announced() []announcement {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []announcement
	for key, s := range d.services {
		for i := range s.outcomes {
			if o := &s.outcomes[i]; s.service != nil && o.answer {
				out = append(out, announcement{key, o.addr})
			}
		}
	}
	return out
}

// Describe implements prometheus.Collector. It describes nothing, so that the registry checks the metrics when they are
// collected.
func (n *Node) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. The names are MetalLB's where they mean the same.
func (n *Node) Collect(ch chan<- prometheus.Metric) {
	announced := prometheus.NewDesc("metallb_speaker_announced", "Services announced from this node.", []string{"service", "protocol", "node", "ip"}, nil)
	for _, a := range n.decider.announced() {
		ch <- prometheus.MustNewConstMetric(announced, prometheus.GaugeValue, 1, a.service.String(), "layer2", n.cfg.Name, a.addr.String())
	}
	if n.peering != nil {
		for _, a := range n.peering.announced() {
			ch <- prometheus.MustNewConstMetric(announced, prometheus.GaugeValue, 1, a.service.String(), "bgp", n.cfg.Name, a.addr.String())
		}
	}
	all, err := n.announcer.Counters()
	if err != nil {
		return // nothing is in the kernel, so nothing was counted
	}
	for _, c := range all {
		of := func(name, help string, v uint64) {
			ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, []string{"ip"}, nil), prometheus.CounterValue, float64(v), c.Addr.String())
		}
		of("metallb_layer2_requests_received", "ARP requests and neighbour solicitations for an address.", c.Requests)
		of("metallb_layer2_responses_sent", "Answers to requests for an address.", c.Replies)
		of("metallb_layer2_gratuitous_sent", "Times that an address was announced unasked at an interface.", c.Gratuitous)
		of("minato_loadbalancer_packets_handed_on_total", "Packets to an address that another node got.", c.HandedOn)
		of("minato_loadbalancer_unknown_packets_total", "Packets among those, of connections that this node should have known.", c.Seconds)
	}
}
