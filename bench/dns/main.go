// Command dns measures Minato's DNS beside CoreDNS: the same machine, the same
// API objects, the same questions, and turn by turn, so that whatever else the
// machine does comes over both. It serves the objects itself, as an API server
// would list them, and lets dnsperf ask. With -compare it asks both servers every
// kind of question about one real API server instead, and tells where they differ.
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
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	minato, coredns, out string
	length               time.Duration
	rate, rounds         int
	sizes                string
	compare              bool
}

func main() {
	var o options
	flag.StringVar(&o.minato, "minato", "bin/minato-dns", "the minato-dns or minato binary")
	flag.StringVar(&o.coredns, "coredns", "build/bench/coredns", "the CoreDNS binary, built from bench/dns/coredns")
	flag.StringVar(&o.out, "out", "build/bench/dns.json", "where the figures go")
	flag.DurationVar(&o.length, "length", 2*time.Second, "length of each measurement, in whole seconds")
	flag.IntVar(&o.rate, "rate", 10000, "questions per second while latencies are taken")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each server is measured with each kind of questions")
	flag.StringVar(&o.sizes, "services", "1000,10000", "numbers of Services")
	flag.BoolVar(&o.compare, "compare", false, "compare answers rather than speed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := measure
	if o.compare {
		run = compareServers
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench/dns:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options) error {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		return errors.New("dnsperf is missing; install the package dnsperf")
	}
	if o.length < time.Second || o.rounds < 1 {
		return errors.New("-length is a second at least, -rounds 1")
	}
	var all []figure
	for _, text := range strings.Split(o.sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-services: %q is no number", text)
		}
		figures, err := measureSize(ctx, o, n)
		if err != nil {
			return err
		}
		all = append(all, figures...)
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	printFigures(os.Stdout, all)
	return os.WriteFile(o.out, append(data, '\n'), 0o644)
}

// measureSize runs both servers at once, each on the same processors, and asks
// one of them at a time.
func measureSize(ctx context.Context, o options, services int) ([]figure, error) {
	dir, err := os.MkdirTemp("", "bench-dns-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w, err := startWorld(dir, manyServices(services))
	if err != nil {
		return nil, err
	}
	defer w.close()
	servers := []server{coreDNS(o.coredns), minatoDNS(o.minato)}
	pair := make([]*process, len(servers))
	for i, s := range servers {
		if pair[i], err = s.start(ctx, w); err != nil {
			return nil, err
		}
		defer pair[i].stop()
	}
	time.Sleep(time.Second) // garbage of the start is part of no figure
	var out []figure
	idle := make([]float64, len(pair))
	for i, p := range pair {
		idle[i] = p.memory("VmRSS")
	}
	for _, m := range mixes(services) {
		runs := make([][]run, len(pair))
		for round := range o.rounds {
			for i, p := range pair {
				r, err := perf(ctx, o, p, dir, m, round == 0)
				if err != nil {
					return nil, err
				}
				runs[i] = append(runs[i], r)
			}
		}
		for i, s := range servers {
			f := summarize(runs[i])
			f.Server, f.Services, f.Questions, f.Rate, f.IdleMiB = s.name, services, m.name, o.rate, idle[i]
			f.MemoryMiB = pair[i].memory("VmHWM")
			fmt.Fprintf(os.Stderr, "%s, %d Services, %s: %.0f/s, p99 %.3f ms\n", f.Server, f.Services, f.Questions, f.QPS.Median, f.P99.Median)
			out = append(out, f)
		}
	}
	return out, nil
}
