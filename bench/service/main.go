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
	"os"
	"time"

	"minato/bench/lab"
)

type options struct {
	lab.Options
	rounds   int
	slice    time.Duration
	patience time.Duration
}

func main() {
	lab.Main()
	lab.Exit("service", func(ctx context.Context) error {
		o, err := parse()
		if err != nil {
			return err
		}
		return run(ctx, o)
	})
}

func parse() (options, error) {
	var o options
	read := o.Flags("service", "10,1000,10000,30000", "nftables,iptables")
	flag.IntVar(&o.rounds, "rounds", 51, "how often each variant is measured")
	flag.DurationVar(&o.slice, "slice", 20*time.Millisecond, "how long, each time")
	flag.DurationVar(&o.patience, "patience", 4*time.Minute, "how long a proxy may take until it serves a number of Services")
	quick := flag.Bool("quick", false, "a look only: 10 and 1000 Services, few rounds")
	flag.Parse()
	sizes := "" // those that were asked for
	if *quick {
		sizes, o.rounds = "10,1000", 15
	}
	err := read(sizes) // fills o, so it comes first
	return o, err
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
	for _, n := range o.Sizes {
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
	return lab.WriteJSON(o.Out, res)
}
