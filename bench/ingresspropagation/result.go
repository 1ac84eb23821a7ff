package main

import (
	"fmt"
	"io"

	"minato/bench/lab"
)

type result struct {
	Machine  lab.Machine `json:"machine"`
	Nodes    int         `json:"nodes"`
	Services int         `json:"services"`
	Disk     bool        `json:"disk"`
	Poll     float64     `json:"pollMS"`
	Sizes    []size      `json:"sizes"`
}

// size is what was measured with a number of routes.
type size struct {
	Routes int `json:"routes"`
	// Added routes were made, served by all proxies, and had their addresses, after so many seconds.
	Added     int       `json:"added"`
	Made      float64   `json:"madeSeconds"`
	Served    float64   `json:"servedSeconds"`
	Addressed float64   `json:"addressedSeconds"`
	Summary   []summary `json:"summary"`
	Memory    []memory  `json:"memory"` // of each node's proxy
	Edits     []edit    `json:"edits"`
}

// edit is a write and what followed it, in milliseconds.
type edit struct {
	Kind     string  `json:"kind"`
	Write    float64 `json:"write"`    // from when it was sent to when the API server had answered
	Followed float64 `json:"followed"` // from when it was sent to the first new answer of the last proxy
	After    float64 `json:"after"`    // to the same from when the API server had answered; 0 if it was before that
}

// summary is of all edits of a kind.
type summary struct {
	Kind     string    `json:"kind"`
	Edits    int       `json:"edits"`
	Write    quantiles `json:"write"`
	Followed quantiles `json:"followed"`
	After    quantiles `json:"after"`
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func quantilesOf(values []float64) quantiles {
	return quantiles{lab.Quantile(values, 0.5), lab.Quantile(values, 0.99), lab.Quantile(values, 1)}
}

func (q quantiles) String() string { return fmt.Sprintf("%.1f / %.1f / %.1f", q.P50, q.P99, q.Max) }

func (s *size) sumUp() {
	for _, kind := range kinds() {
		var write, followed, after []float64
		for _, e := range s.Edits {
			if e.Kind == kind {
				write, followed, after = append(write, e.Write), append(followed, e.Followed), append(after, e.After)
			}
		}
		s.Summary = append(s.Summary, summary{kind, len(write), quantilesOf(write), quantilesOf(followed), quantilesOf(after)})
	}
}

// print writes the tables that the documentation has.
func (res *result) print(out io.Writer) {
	fmt.Fprintf(out, "\n%d nodes, %d cores; p50 / p99 / maximum in ms\n\n", res.Nodes, res.Machine.Cores)
	fmt.Fprintln(out, "| routes | written | edits | write sent to API's answer | write sent to last proxy's new answer | API's answer to last proxy's |")
	fmt.Fprintln(out, "|---:|---|---:|---:|---:|---:|")
	for _, s := range res.Sizes {
		for _, k := range s.Summary {
			fmt.Fprintf(out, "| %d | %s | %d | %s | %s | %s |\n", s.Routes, k.Kind, k.Edits, k.Write, k.Followed, k.After)
		}
	}
	fmt.Fprintln(out, "\n| routes | added | made, s | served, s | addresses, s | proxy resident, MiB | anonymous, MiB |")
	fmt.Fprintln(out, "|---:|---:|---:|---:|---:|---:|---:|")
	for _, s := range res.Sizes {
		resident, anonymous := middle(s.Memory)
		fmt.Fprintf(out, "| %d | %d | %.1f | %.1f | %.1f | %.0f | %.0f |\n", s.Routes, s.Added, s.Made, s.Served, s.Addressed, resident, anonymous)
	}
}
