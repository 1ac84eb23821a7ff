// Command service measures what Services cost: connections, requests and bulk
// data through a cluster IP, a NodePort and the address of a load balancer,
// beside the same without any Service and beside kube-proxy in its modes, with
// few and with many Services in the cluster.
//
// All variants are loaded at once, each in a world of its own, and measured in
// turn, round after round; every figure is a ratio of two variants within a
// round, and the middle of all rounds is told with its spread. A machine that
// is busy with other things so disturbs both sides alike. One of the ratios
// compares a variant with itself: what it differs from 1 is noise.
//
// It is run as root by `make bench-service`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"minato/bench/lab"
)

type options struct {
	minato, kubeProxy, out string
	sizes                  []int
	modes                  []string
	rounds                 int
	slice                  time.Duration
	patience               time.Duration
}

func main() {
	lab.Main()
	o, err := parse()
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/service:", err)
		os.Exit(1)
	}
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.minato, "minato", "bin/minato", "the minato binary")
	flag.StringVar(&o.kubeProxy, "kube-proxy", "build/bench/kube-proxy", "kube-proxy's binary")
	flag.StringVar(&o.out, "out", "build/bench/service.json", "where the figures go")
	sizes := flag.String("sizes", "10,1000,10000,30000", "numbers of Services, growing")
	modes := flag.String("modes", "nftables,iptables", "modes of kube-proxy")
	flag.IntVar(&o.rounds, "rounds", 11, "how often each variant is measured")
	flag.DurationVar(&o.slice, "slice", 100*time.Millisecond, "how long, each time")
	flag.DurationVar(&o.patience, "patience", 4*time.Minute, "how long a proxy may take until it serves a number of Services")
	quick := flag.Bool("quick", false, "a look only: 10 and 1000 Services, few rounds")
	flag.Parse()
	if *quick {
		*sizes, o.rounds = "10,1000", 5
	}
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return o, fmt.Errorf("-sizes: %w", err)
		}
		o.sizes = append(o.sizes, n)
	}
	if !slices.IsSorted(o.sizes) {
		return o, errors.New("-sizes: Services are added from size to size; give the numbers in growing order")
	}
	o.modes = strings.FieldsFunc(*modes, func(r rune) bool { return r == ',' })
	return o, lab.CheckPrograms(o.minato, o.kubeProxy)
}

func run(ctx context.Context, o options) (err error) {
	if err := lab.Clean(ctx); err != nil {
		return err
	}
	s, err := newStage(ctx, o)
	if s != nil {
		defer func() { err = errors.Join(err, s.close()) }()
	}
	if err != nil {
		return err
	}
	res := result{Machine: lab.ThisMachine(), Rounds: o.rounds, Slice: o.slice.String()}
	for _, n := range o.sizes {
		if err := s.grow(ctx, n); err != nil {
			return err
		}
		size, err := s.measure(ctx, n)
		if err != nil {
			return err
		}
		size.print(os.Stdout)
		res.Sizes = append(res.Sizes, size)
	}
	return lab.WriteJSON(o.out, res)
}
