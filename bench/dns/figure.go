package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// run is one measurement.
type run struct {
	qps       float64 // as many as go, 100 at once
	lost      int     // of those
	p50, p99  float64 // in milliseconds, at a fixed rate
	cpuMicros float64 // the server's, for each question of the first
}

// spread is a figure over all rounds.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// figure is what the rounds of one server with one kind of questions say.
type figure struct {
	Server    string  `json:"server"`
	Services  int     `json:"services"`
	Questions string  `json:"questions"`
	QPS       spread  `json:"qps"`
	Lost      int     `json:"lost"`
	Rate      int     `json:"rate"` // of the runs that give the latencies
	P50       spread  `json:"p50Millis"`
	P99       spread  `json:"p99Millis"`
	CPUMicros spread  `json:"cpuMicros"`
	MemoryMiB float64 `json:"memoryMiB"` // resident, most until then
	IdleMiB   float64 `json:"idleMiB"`   // resident, before the first question
}

func summarize(runs []run) figure {
	over := func(pick func(run) float64) spread {
		var all []float64
		for _, r := range runs {
			all = append(all, pick(r))
		}
		slices.Sort(all)
		return spread{Median: all[len(all)/2], Least: all[0], Most: all[len(all)-1]}
	}
	f := figure{
		QPS:       over(func(r run) float64 { return r.qps }),
		P50:       over(func(r run) float64 { return r.p50 }),
		P99:       over(func(r run) float64 { return r.p99 }),
		CPUMicros: over(func(r run) float64 { return r.cpuMicros }),
	}
	for _, r := range runs {
		f.Lost += r.lost
	}
	return f
}

// printFigures shows medians, with the least and the most beside them, and how
// many times as many questions as the first server's are answered.
func printFigures(out io.Writer, all []figure) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "Services\tquestions\tserver\tper second\t(least–most)\t×\tCPU µs\tp50 ms\tp99 ms\t(least–most)\tlost\tidle MiB\tMiB\t")
	first := 0.0
	for i, f := range all {
		if i == 0 || f.Questions != all[i-1].Questions || f.Services != all[i-1].Services {
			first = f.QPS.Median
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%.0f\t(%.0f–%.0f)\t%.1f\t%.1f\t%.3f\t%.3f\t(%.3f–%.3f)\t%d\t%.0f\t%.0f\t\n",
			f.Services, f.Questions, f.Server, f.QPS.Median, f.QPS.Least, f.QPS.Most, f.QPS.Median/first, f.CPUMicros.Median,
			f.P50.Median, f.P99.Median, f.P99.Least, f.P99.Most, f.Lost, f.IdleMiB, f.MemoryMiB)
	}
	w.Flush()
}
