package main

import (
	"fmt"
	"io"
	"slices"
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

// printFigures writes the tables of docs/dns.md: medians, with the least and the
// most beside them, and how many times the first server's questions are answered.
func printFigures(out io.Writer, all []figure) {
	fmt.Fprintln(out, "| Services, questions | server | per second | lost | p50 ms | p99 ms | CPU µs each |\n|---|---|---|---|---|---|---|")
	first := 0.0
	for i, f := range all {
		times := ""
		if i == 0 || f.Questions != all[i-1].Questions || f.Services != all[i-1].Services {
			first = f.QPS.Median
		} else {
			times = fmt.Sprintf(", %.1f×", f.QPS.Median/first)
		}
		fmt.Fprintf(out, "| %d, %s | %s | %.0f (%.0f–%.0f)%s | %d | %.2f | %.2f (%.2f–%.2f) | %.1f |\n",
			f.Services, f.Questions, f.Server, f.QPS.Median, f.QPS.Least, f.QPS.Most, times, f.Lost,
			f.P50.Median, f.P99.Median, f.P99.Least, f.P99.Most, f.CPUMicros.Median)
	}
	fmt.Fprintln(out, "\n| Services | server | resident MiB, idle | the most |\n|---|---|---|---|")
	type holder struct {
		services int
		server   string
	}
	last := map[holder]figure{} // the most until then is the most of all
	var holders []holder
	for _, f := range all {
		h := holder{f.Services, f.Server}
		if _, known := last[h]; !known {
			holders = append(holders, h)
		}
		last[h] = f
	}
	for _, h := range holders {
		fmt.Fprintf(out, "| %d | %s | %.0f | %.0f |\n", h.services, h.server, last[h].IdleMiB, last[h].MemoryMiB)
	}
}
