package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"text/tabwriter"
	"time"

	"minato/bench/lab"
)

// result is what is written as JSON.
type result struct {
	Machine     lab.Machine  `json:"machine"`
	Nodes       int          `json:"nodes"`
	Policy      string       `json:"externalTrafficPolicy"`
	Rate        int          `json:"connectionsPerSecond"`
	Held        int          `json:"heldConnections"`
	Failover    []outages    `json:"failover"`
	Scale       []scale      `json:"scale"`
	Ratios      []ratio      `json:"ratios"`
	Runs        []run        `json:"runs"`
	Allocations []allocation `json:"allocations"`
}

// run is one loss of a node.
type run struct {
	System string  `json:"system"`
	Way    way     `json:"way"`
	Node   string  `json:"node"`
	InTime bool    `json:"inTime"`   // connections worked again before patience ended
	Outage float64 `json:"outageMS"` // until the start of the first connection after which none failed
	First  float64 `json:"firstMS"`  // until the start of the first that worked
	effect
	Return effect `json:"return"` // of the node
}

// effect is what clients noticed.
type effect struct {
	Failed    int `json:"failed"`    // attempts
	Attempts  int `json:"attempts"`  //
	Cut       int `json:"cut"`       // held connections to Pods on nodes that lived
	Surviving int `json:"surviving"` // all of those
	Lost      int `json:"lost"`      // held connections to Pods on the node that was lost
	// FirstCut and LastCut are when held connections turned out cut.
	FirstCut float64 `json:"firstCutMS,omitempty"`
	LastCut  float64 `json:"lastCutMS,omitempty"`
	// Errors is what attempts and held connections failed with, and how many of them.
	Errors map[string]int `json:"errors,omitempty"`
}

func (e *effect) failedWith(err string) {
	if e.Errors == nil {
		e.Errors = map[string]int{}
	}
	e.Errors[ports.ReplaceAllString(err, "")]++
}

func (e *effect) cutAt(at, from time.Time) {
	if at.IsZero() {
		return
	}
	ms := millis(at.Sub(from))
	if e.FirstCut == 0 || ms < e.FirstCut {
		e.FirstCut = ms
	}
	e.LastCut = max(e.LastCut, ms)
}

// ports are in errors, and differ from one to the next.
var ports = regexp.MustCompile(`[\d.]+:\d+->`)

func (r run) String() string {
	if !r.InTime {
		return "no recovery in time"
	}
	return fmt.Sprintf("%s lost: %.0f ms, %d of %d connections failed, %d of %d held ones cut; back: %d failed, %d cut",
		r.Node, r.Outage, r.Failed, r.Attempts, r.Cut, r.Surviving, r.Return.Failed, r.Return.Cut)
}

// disturbance is what a load noticed from a moment on; victim is the node that was lost, if one was.
func disturbance(l loadResult, from time.Time, victim string) effect {
	var e effect
	for _, a := range l.Attempts {
		if a.At.Before(from.Add(-attemptLimit)) || a.Err == "" && a.At.Before(from) {
			continue
		}
		e.Attempts++
		if a.Err != "" {
			e.Failed++
			e.failedWith("new: " + a.Err)
		}
	}
	for _, f := range l.Flows {
		switch {
		case f.Node == "" || !f.Cut.IsZero() && f.Cut.Before(from): // it never was, or not any more
		case f.Node == victim:
			e.Lost++
		default:
			e.Surviving++
			if !f.Cut.IsZero() || f.Stuck {
				e.Cut++
				e.failedWith("held: " + cmp.Or(f.Err, "no answer"))
				e.cutAt(f.Cut, from)
			}
		}
	}
	return e
}

// count fills in what the loss did. An attempt that fails after the outage was over is counted, and is none of it.
func (r *run) count(l loadResult, began, over time.Time, patience time.Duration) {
	r.effect = disturbance(l, began, r.Node)
	var lastFailure, first, recovery time.Time
	for _, a := range l.Attempts {
		if a.Err != "" && a.At.After(began.Add(-attemptLimit)) && a.At.After(lastFailure) && !a.At.After(over) {
			lastFailure = a.At
		}
	}
	for _, a := range l.Attempts {
		if a.Err != "" || a.At.Before(began) {
			continue
		}
		if first.IsZero() || a.At.Before(first) {
			first = a.At
		}
		if a.At.After(lastFailure) && (recovery.IsZero() || a.At.Before(recovery)) {
			recovery = a.At
		}
	}
	switch {
	case !r.InTime || recovery.IsZero():
		r.InTime, r.Outage, r.First = false, millis(patience), millis(patience)
	case lastFailure.IsZero():
		// Nobody noticed.
	default:
		r.Outage, r.First = millis(recovery.Sub(began)), millis(first.Sub(began))
	}
}

// outages sums the runs of one way and system up.
type outages struct {
	System string  `json:"system"`
	Way    way     `json:"way"`
	Runs   int     `json:"runs"`
	Late   int     `json:"notInTime"`
	P50    float64 `json:"p50MS"`
	P99    float64 `json:"p99MS"`
	Max    float64 `json:"maxMS"`
	effect
	Return effect `json:"return"`
}

func (e *effect) add(o effect) {
	e.Failed, e.Attempts, e.Cut, e.Surviving, e.Lost = e.Failed+o.Failed, e.Attempts+o.Attempts, e.Cut+o.Cut, e.Surviving+o.Surviving, e.Lost+o.Lost
	for text, n := range o.Errors {
		if e.Errors == nil {
			e.Errors = map[string]int{}
		}
		e.Errors[text] += n
	}
}

// allocation is one round with many Services.
type allocation struct {
	System        string    `json:"system"`
	Services      int       `json:"services"`
	NotInTime     bool      `json:"notInTime"`
	Allocations   int       `json:"allocatedServices"`
	Announcements int       `json:"announcedServices"`
	Allocated     float64   `json:"allocatedSeconds"` // all have an address
	Announced     float64   `json:"announcedSeconds"` // somebody answers for each
	Changes       []float64 `json:"changesMS"`        // one more, until somebody answers for it
	Writes        []float64 `json:"writesMS"`         // the API server's part of it
}

func (a allocation) String() string {
	if a.NotInTime {
		return fmt.Sprintf("not in time: %d had an address, %d were answered for", a.Allocations, a.Announcements)
	}
	return fmt.Sprintf("allocated %.2f s, announced %.2f s; one more: p50 %.0f ms, p99 %.0f ms",
		a.Allocated, a.Announced, lab.Quantile(a.Changes, 0.5), lab.Quantile(a.Changes, 0.99))
}

// scale sums the rounds of one system up.
type scale struct {
	System    string  `json:"system"`
	Services  int     `json:"services"`
	Rounds    int     `json:"rounds"`
	Late      int     `json:"notInTime"`
	Allocated float64 `json:"allocatedSeconds"`
	Announced float64 `json:"announcedSeconds"`
	ChangeP50 float64 `json:"changeP50MS"`
	ChangeP99 float64 `json:"changeP99MS"`
	WriteP50  float64 `json:"writeP50MS"`
}

// ratio compares Minato with MetalLB.
type ratio struct {
	What  string  `json:"what"`
	Ratio float64 `json:"minatoToMetalLB"`
}

func (res *result) sumUp() {
	res.Failover, res.Scale, res.Ratios = nil, nil, nil
	for _, name := range []string{minatoName, metallbName} {
		for _, w := range ways {
			if o := res.outagesOf(name, w); o.Runs > 0 {
				res.Failover = append(res.Failover, o)
			}
		}
		if s := res.scaleOf(name); s.Rounds > 0 {
			res.Scale = append(res.Scale, s)
		}
	}
	for _, w := range ways {
		a, b := res.outagesOf(minatoName, w), res.outagesOf(metallbName, w)
		res.compare(string(w)+", outage p50", a.P50, b.P50)
		res.compare(string(w)+", outage p99", a.P99, b.P99)
	}
	a, b := res.scaleOf(minatoName), res.scaleOf(metallbName)
	res.compare("all announced", a.Announced, b.Announced)
	res.compare("one more announced, p50", a.ChangeP50, b.ChangeP50)
	res.compare("one more announced, p99", a.ChangeP99, b.ChangeP99)
}

// compare notes a ratio where both were measured.
func (res *result) compare(what string, a, b float64) {
	if a > 0 && b > 0 {
		res.Ratios = append(res.Ratios, ratio{what, a / b})
	}
}

func (res *result) outagesOf(name string, w way) outages {
	o := outages{System: name, Way: w}
	var times []float64
	for _, r := range res.Runs {
		if r.System != name || r.Way != w {
			continue
		}
		o.Runs++
		if !r.InTime {
			o.Late++
		}
		times = append(times, r.Outage)
		o.add(r.effect)
		o.Return.add(r.Return)
	}
	o.P50, o.P99, o.Max = lab.Quantile(times, 0.5), lab.Quantile(times, 0.99), lab.Quantile(times, 1)
	return o
}

func (res *result) scaleOf(name string) scale {
	s := scale{System: name}
	var allocated, announced, changes, writes []float64
	for _, a := range res.Allocations {
		if a.System != name {
			continue
		}
		s.Rounds, s.Services = s.Rounds+1, a.Services
		if a.NotInTime {
			s.Late++
			continue
		}
		allocated, announced = append(allocated, a.Allocated), append(announced, a.Announced)
		changes, writes = append(changes, a.Changes...), append(writes, a.Writes...)
	}
	s.Allocated, s.Announced = lab.Median(allocated), lab.Median(announced)
	s.ChangeP50, s.ChangeP99, s.WriteP50 = lab.Quantile(changes, 0.5), lab.Quantile(changes, 0.99), lab.Median(writes)
	return s
}

func (res *result) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%d nodes, policy %s, %d connections/s, %d held\n\n", res.Nodes, res.Policy, res.Rate, res.Held)
	fmt.Fprintln(w, "node lost by\tsystem\truns\tnot in time\toutage p50\tp99\tmax\tfailed\tcut\tof\tback: failed\tcut\tof\t")
	for _, o := range res.Failover {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.0f ms\t%.0f ms\t%.0f ms\t%d\t%d\t%d\t%d\t%d\t%d\t\n",
			o.Way, o.System, o.Runs, o.Late, o.P50, o.P99, o.Max, o.Failed, o.Cut, o.Surviving, o.Return.Failed, o.Return.Cut, o.Return.Surviving)
	}
	fmt.Fprintln(w, "\t\t\t\t\t\t\t\t\t\t\t\t\t")
	fmt.Fprintln(w, "Services\tsystem\trounds\tnot in time\tallocated\tannounced\tone more p50\tp99\twrite p50\t\t\t\t\t")
	for _, s := range res.Scale {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%.2f s\t%.2f s\t%.1f ms\t%.1f ms\t%.1f ms\t\t\t\t\t\n",
			s.Services, s.System, s.Rounds, s.Late, s.Allocated, s.Announced, s.ChangeP50, s.ChangeP99, s.WriteP50)
	}
	err := w.Flush()
	if len(res.Ratios) > 0 {
		fmt.Fprintln(out, "\nminato / metallb")
	}
	for _, r := range res.Ratios {
		fmt.Fprintf(out, "%-40s %.3f\n", r.What, r.Ratio)
	}
	return err
}

func millis(d time.Duration) float64  { return float64(d.Microseconds()) / 1000 }
func seconds(d time.Duration) float64 { return d.Seconds() }

// readClaim reads what a prober tells of an answer.
func readClaim(line []byte, open bool) (claim, error) {
	var c claim
	if !open {
		return c, errors.New("the process that asks for addresses has ended")
	}
	err := json.Unmarshal(line, &c)
	return c, err
}
