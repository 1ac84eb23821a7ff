// Command dns measures Minato's DNS beside CoreDNS: the same machine, the same
// API objects, the same questions, one run. It serves the objects itself, as an
// API server would list them, starts one server after the other, and lets
// dnsperf ask. With -compare it asks both servers every kind of question
// instead and tells where they differ.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// run is one measurement.
type run struct {
	Server    string  `json:"server"`
	Services  int     `json:"services"`
	Questions string  `json:"questions"`
	QPS       float64 `json:"qps"`       // as many as go, 100 at once
	Lost      int     `json:"lost"`      // of those
	Rate      int     `json:"rate"`      // of the run that gives the latencies
	P50       float64 `json:"p50Millis"` // at that rate
	P99       float64 `json:"p99Millis"`
	CPUMicros float64 `json:"cpuMicros"` // the server's, for each question of the first run
	MemoryMiB float64 `json:"memoryMiB"` // resident, most until then
	IdleMiB   float64 `json:"idleMiB"`   // resident, before the first question
}

// options are the flags.
type options struct {
	minato, coredns, out string
	seconds, rate        int
	sizes                string
	compare              bool
}

func main() {
	var o options
	flag.StringVar(&o.minato, "minato", "bin/minato-dns", "the minato-dns or minato binary")
	flag.StringVar(&o.coredns, "coredns", "build/bench/coredns", "the CoreDNS binary, built from bench/dns/coredns")
	flag.StringVar(&o.out, "out", "build/bench/dns.json", "where the figures go")
	flag.IntVar(&o.seconds, "seconds", 5, "length of each measurement")
	flag.IntVar(&o.rate, "rate", 10000, "questions per second while latencies are taken")
	flag.StringVar(&o.sizes, "services", "1000,10000", "numbers of Services")
	flag.BoolVar(&o.compare, "compare", false, "compare answers rather than speed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := measure(ctx, o)
	if o.compare {
		err = compareServers(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/dns:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options) error {
	if o.compare {
		return nil
	}
	if _, err := exec.LookPath("dnsperf"); err != nil {
		return errors.New("dnsperf is missing; install the package dnsperf")
	}
	var all []run
	for _, text := range strings.Split(o.sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-services: %q is no number", text)
		}
		runs, err := measureSize(ctx, o, n)
		if err != nil {
			return err
		}
		all = append(all, runs...)
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	printRuns(all)
	return os.WriteFile(o.out, append(data, '\n'), 0o644)
}

func measureSize(ctx context.Context, o options, services int) ([]run, error) {
	dir, err := os.MkdirTemp("", "bench-dns-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	world, err := startWorld(ctx, dir, manyServices(services))
	if err != nil {
		return nil, err
	}
	defer world.close()
	var out []run
	for _, s := range []server{coreDNS(o.coredns), minatoDNS(o.minato)} {
		p, err := s.start(ctx, world)
		if err != nil {
			return nil, err
		}
		time.Sleep(time.Second) // garbage of the start is part of neither figure
		idle := p.memory("VmRSS")
		for _, mix := range mixes(services) {
			r, err := perf(ctx, o, p, dir, mix)
			if err != nil {
				p.stop()
				return nil, err
			}
			r.Server, r.Services, r.IdleMiB = s.name, services, idle
			fmt.Fprintf(os.Stderr, "%s, %d Services, %s: %.0f/s, p50 %.3f ms, p99 %.3f ms, %.0f MiB\n", r.Server, r.Services, r.Questions, r.QPS, r.P50, r.P99, r.MemoryMiB)
			out = append(out, r)
		}
		p.stop()
	}
	return out, nil
}

func printRuns(all []run) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "Services\tquestions\tserver\tper second\tCPU µs\tp50 ms\tp99 ms\tidle MiB\tMiB\t")
	for _, r := range all {
		fmt.Fprintf(w, "%d\t%s\t%s\t%.0f\t%.1f\t%.3f\t%.3f\t%.0f\t%.0f\t\n", r.Services, r.Questions, r.Server, r.QPS, r.CPUMicros, r.P50, r.P99, r.IdleMiB, r.MemoryMiB)
	}
	w.Flush()
}
