package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"minato/bench/lab"
)

// result is the file that is written.
type result struct {
	Machine  lab.Machine       `json:"machine"`
	Versions map[string]string `json:"versions"`
	Missing  []string          `json:"missing,omitempty"`
	Rounds   int               `json:"rounds"`
	Slice    string            `json:"slice"`
	Loads    []figures         `json:"workloads"`
	Memory   []figureOfPeer    `json:"memory"`
}

// figures are those of one workload.
type figures struct {
	Workload string   `json:"workload"`
	About    string   `json:"about"`
	Peers    []figure `json:"peers"`
}

// figure is the middle of all rounds of a peer. Ratios are to nginx within a round, where nginx was measured: above 1 the
// peer serves more.
type figure struct {
	Peer         string      `json:"peer"`
	Rate         float64     `json:"perSecond"`
	PerCPUSecond float64     `json:"perProcessorSecond"`
	Busy         float64     `json:"processorShare"`
	MiBPerSecond float64     `json:"mibPerSecond,omitempty"`
	P50          float64     `json:"p50Micros"`
	P99          float64     `json:"p99Micros"`
	P999         float64     `json:"p999Micros"`
	Errors       int         `json:"errors"`
	RateRatio    *lab.Spread `json:"rateToNginx,omitempty"`
	CPURatio     *lab.Spread `json:"perProcessorSecondToNginx,omitempty"`
}

type figureOfMemory struct {
	RSS       int64 `json:"rssBytes"`
	Anonymous int64 `json:"anonymousBytes"`
}

// figureOfPeer is the memory after all loads, with few routes and with 10,000.
type figureOfPeer struct {
	Peer  string         `json:"peer"`
	Few   figureOfMemory `json:"few"`
	Many  figureOfMemory `json:"tenThousandRoutes"`
	Until float64        `json:"secondsUntilTenThousandRoutesAreServed"`
}

func (s sample) rate() float64         { return float64(s.Done) / s.Seconds }
func (s sample) perCPUSecond() float64 { return float64(s.Done) / max(s.CPU, 0.01) }

func middle(all []sample, of func(sample) float64) float64 {
	values := make([]float64, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	return lab.Median(values)
}

// against compares two peers round by round.
func against(a, b []sample, of func(sample) float64) *lab.Spread {
	n := min(len(a), len(b))
	if n == 0 {
		return nil
	}
	each := make([]float64, n)
	for i := range each {
		if of(b[i]) == 0 {
			return nil
		}
		each[i] = of(a[i]) / of(b[i])
	}
	spread := lab.SpreadOf(each)
	return &spread
}

func (s *stage) result() *result {
	r := &result{Machine: lab.ThisMachine(), Versions: s.versions, Missing: s.missing, Rounds: s.rounds, Slice: s.slice.String()}
	for _, w := range s.all {
		f := figures{Workload: w.name, About: w.about}
		for _, p := range s.peers {
			all := s.samples[w.name][p.name]
			one := figure{
				Peer: p.name, Rate: middle(all, sample.rate), PerCPUSecond: middle(all, sample.perCPUSecond),
				Busy: middle(all, func(s sample) float64 { return s.CPU / s.Seconds }),
				P50:  middle(all, func(s sample) float64 { return s.P50 }), P99: middle(all, func(s sample) float64 { return s.P99 }),
				P999: middle(all, func(s sample) float64 { return s.P999 }),
			}
			for _, x := range all {
				one.Errors += x.Errors
			}
			if w.bytes > 0 {
				one.MiBPerSecond = one.Rate * float64(w.bytes) / (1 << 20)
			}
			base := s.samples[w.name]["nginx"]
			one.RateRatio, one.CPURatio = against(all, base, sample.rate), against(all, base, sample.perCPUSecond)
			f.Peers = append(f.Peers, one)
		}
		r.Loads = append(r.Loads, f)
	}
	for _, p := range s.peers {
		m := s.memory[p.name]
		r.Memory = append(r.Memory, figureOfPeer{Peer: p.name, Few: m[0], Many: m[1], Until: s.large[p.name].Seconds()})
	}
	return r
}

// print writes the figures as Markdown.
func (r *result) print(out io.Writer) {
	fmt.Fprintf(out, "%d cores of %s, Linux %s; the middle of %d rounds of %s\n", r.Machine.Cores, r.Machine.CPU, r.Machine.Kernel, r.Rounds, r.Slice)
	if len(r.Missing) > 0 {
		fmt.Fprintf(out, "Left out, since they were not built: %s\n", strings.Join(r.Missing, ", "))
	}
	for _, f := range r.Loads {
		unit := "a second"
		if strings.Contains(f.Workload, "load") {
			unit = "MiB a second"
		}
		fmt.Fprintf(out, "\n%s: %s\n\n| | %s | to nginx | per second of processor | to nginx | processor in use | p50 ms | p99 ms | p99.9 ms | errors |\n", f.Workload, f.About, unit)
		fmt.Fprintln(out, "|---|"+strings.Repeat("---:|", 9))
		for _, p := range f.Peers {
			fmt.Fprintf(out, "| %s | %.0f | %s | %.0f | %s | %.0f %% | %.2f | %.2f | %.2f | %d |\n", p.Peer, p.Rate, ratioText(p.RateRatio),
				p.PerCPUSecond, ratioText(p.CPURatio), 100*p.Busy, p.P50/1000, p.P99/1000, p.P999/1000, p.Errors)
		}
	}
	fmt.Fprintf(out, "\nMemory after that, in MiB: resident, and of that anonymous\n\n| | few routes | | 10,000 routes | | s until served |\n|---|%s\n", strings.Repeat("---:|", 5))
	for _, m := range r.Memory {
		fmt.Fprintf(out, "| %s | %d | %d | %d | %d | %.1f |\n", m.Peer, m.Few.RSS>>20, m.Few.Anonymous>>20, m.Many.RSS>>20, m.Many.Anonymous>>20, m.Until)
	}
	fmt.Fprintln(out)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(out, "%s: %s\n", name, r.Versions[name])
	}
}

func ratioText(s *lab.Spread) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%.2f [%.2f-%.2f]", s.Median, s.Low, s.High)
}
