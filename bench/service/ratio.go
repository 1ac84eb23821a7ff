package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"minato/bench/lab"
)

// The ways to the server.
const (
	podDirect      = "Pod to Pod"
	control        = "Pod to Pod again"
	clusterIP      = "Pod to cluster IP"
	outsideDirect  = "outside to Pod"
	outsideControl = "outside to Pod again"
	nodePort       = "outside to NodePort"
	loadBalancer   = "outside to load balancer"
)

// measures are what each variant is compared by. All are times: of what is a
// rate, the time that one takes, so that a ratio above 1 is always slower.
var measures = []string{"connect p50", "connect p99", "connect+request", "request", "bulk"}

// samples has one value of each measure for each round.
type samples struct {
	world, variant string
	of             map[string][]float64
}

type result struct {
	Machine lab.Machine `json:"machine"`
	Rounds  int         `json:"rounds"`
	Slice   string      `json:"slice"`
	Sizes   []*size     `json:"sizes"`
}

// size is what was measured with one number of Services.
type size struct {
	Services int      `json:"services"`
	Late     []string `json:"notInTime,omitempty"` // proxies that did not keep up
	Figures  []figure `json:"figures"`
	Ratios   []ratio  `json:"ratios"`
	samples  map[string]*samples
}

// figure is a variant by itself: the middle of its rounds.
type figure struct {
	World           string  `json:"world"`
	Variant         string  `json:"variant"`
	ConnectP50      float64 `json:"connectP50Micros"`
	ConnectP99      float64 `json:"connectP99Micros"`
	ConnectionsRate float64 `json:"connectionsPerSecond"`
	RequestsRate    float64 `json:"requestsPerSecond"`
	Gbits           float64 `json:"gbitsPerSecond"`
}

// ratio compares two variants.
type ratio struct {
	What string `json:"what"`
	// Aim is the most that the ratio should be, 0 if nothing is aimed at.
	Aim float64               `json:"aim,omitempty"`
	Of  map[string]lab.Spread `json:"of"`
}

func (s *size) add(world, name string, kind lab.Kind, r lab.Result) {
	key := world + "/" + name
	v := s.samples[key]
	if v == nil {
		v = &samples{world: world, variant: name, of: map[string][]float64{}}
		s.samples[key] = v
	}
	put := func(measure string, value float64) { v.of[measure] = append(v.of[measure], value) }
	each := r.Took.Seconds() / float64(r.Done)
	switch kind {
	case lab.Connections:
		put("connect p50", lab.Quantile(r.Connect, 0.5)/1e9)
		put("connect p99", lab.Quantile(r.Connect, 0.99)/1e9)
		put("connect+request", each)
	case lab.Requests:
		put("request", each)
	case lab.Bulk:
		put("bulk", each)
	}
}

// compare fills in figures and ratios.
func (s *size) compare() {
	for _, key := range slices.Sorted(maps.Keys(s.samples)) {
		v := s.samples[key]
		mid := func(measure string) float64 { return lab.Median(v.of[measure]) }
		s.Figures = append(s.Figures, figure{
			World: v.world, Variant: v.variant, ConnectP50: 1e6 * mid("connect p50"), ConnectP99: 1e6 * mid("connect p99"),
			ConnectionsRate: 1 / mid("connect+request"), RequestsRate: 1 / mid("request"), Gbits: 8e-9 / mid("bulk"),
		})
	}
	const equal, near, ahead = 1.03, 1.10, 1.0
	s.ratio("noise: Pod to Pod, twice", "minato/"+control, "minato/"+podDirect, 0)
	s.ratio("noise: outside to Pod, twice", "minato/"+outsideControl, "minato/"+outsideDirect, 0)
	s.ratio("cluster IP / Pod to Pod", "minato/"+clusterIP, "minato/"+podDirect, equal)
	s.ratio("NodePort / outside to Pod", "minato/"+nodePort, "minato/"+outsideDirect, near)
	s.ratio("load balancer / outside to Pod", "minato/"+loadBalancer, "minato/"+outsideDirect, near)
	s.ratio("Pod to Pod, minato / no proxy", "minato/"+podDirect, "bare/"+podDirect, 0)
	s.ratio("outside to Pod, minato / no proxy", "minato/"+outsideDirect, "bare/"+outsideDirect, 0)
	for _, mode := range []string{"nftables", "iptables"} {
		for _, v := range []struct{ what, name string }{{"cluster IP", clusterIP}, {"NodePort", nodePort}, {"load balancer", loadBalancer}} {
			s.ratio(v.what+", minato / "+mode, "minato/"+v.name, mode+"/"+v.name, ahead)
		}
		s.ratio("Pod to Pod, minato / "+mode, "minato/"+podDirect, mode+"/"+podDirect, 0)
	}
}

// ratio compares a and b in each round, where both were measured.
func (s *size) ratio(what, a, b string, aim float64) {
	over, under := s.samples[a], s.samples[b]
	if over == nil || under == nil {
		return
	}
	r := ratio{What: what, Aim: aim, Of: map[string]lab.Spread{}}
	for _, m := range measures {
		each := make([]float64, len(over.of[m]))
		for i := range each {
			each[i] = over.of[m][i] / under.of[m][i]
		}
		r.Of[m] = lab.SpreadOf(each)
	}
	s.Ratios = append(s.Ratios, r)
}

func (s *size) print(out io.Writer) {
	fmt.Fprintf(out, "\n%d Services\n\n", s.Services)
	for _, late := range s.Late {
		fmt.Fprintf(out, "%s did not serve that many in time and is left out\n\n", late)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "world\tway\tconnect p50 µs\tp99 µs\tconnections/s\trequests/s\tGbit/s\t")
	for _, f := range s.Figures {
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%.1f\t%.0f\t%.0f\t%.2f\t\n", f.World, f.Variant, f.ConnectP50, f.ConnectP99, f.ConnectionsRate, f.RequestsRate, f.Gbits)
	}
	w.Flush()
	fmt.Fprintln(out, "\nratios of times: below 1 the first is faster; middle of all rounds [middle half]")
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "compared\taim\t%s\t\n", strings.Join(measures, "\t"))
	for _, r := range s.Ratios {
		fmt.Fprintf(w, "%s\t", r.What)
		if r.Aim > 0 {
			fmt.Fprintf(w, "≤ %.2f", r.Aim)
		}
		for _, m := range measures {
			fmt.Fprintf(w, "\t%s", r.Of[m])
		}
		fmt.Fprintln(w, "\t")
	}
	w.Flush()
}
