// Command programming measures how soon a change of the cluster is a change of
// what packets do: from the write of an EndpointSlice to the first connection
// that follows it, with few and with many Services; and how long a proxy takes,
// and how much memory, to load all of them from nothing.
//
// The same API server, Services and changes are given to one proxy after the
// other: to Minato's data plane and to kube-proxy.
//
// It is run as root by `make bench-programming`.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"time"

	"minato/bench/lab"
)

type options struct {
	lab.Options
	changes        int
	budget, settle time.Duration
	patience       time.Duration
	loads          int
}

func main() {
	lab.Main()
	lab.Exit("programming", func(ctx context.Context) error {
		o, err := parse()
		if err != nil {
			return err
		}
		return benchmark(ctx, o)
	})
}

func parse() (options, error) {
	var o options
	read := o.Flags("programming", "100,1000,10000,30000", "nftables")
	flag.IntVar(&o.changes, "changes", 300, "changes of endpoints to measure")
	flag.DurationVar(&o.budget, "budget", 15*time.Second, "how long to go on with changes, if they take long")
	flag.IntVar(&o.loads, "loads", 3, "how often Minato loads everything; kube-proxy does it once")
	flag.DurationVar(&o.settle, "settle", 5*time.Second, "how long after a load memory is read")
	flag.DurationVar(&o.patience, "patience", 3*time.Minute, "how long a load may take")
	quick := flag.Bool("quick", false, "a look only: 100 and 1000 Services, few changes")
	flag.Parse()
	sizes := "" // those that were asked for
	if *quick {
		sizes, o.changes, o.loads, o.settle = "100,1000", 50, 1, time.Second
	}
	err := read(sizes) // fills o, so it comes first
	return o, err
}

func benchmark(ctx context.Context, o options) (err error) {
	if err := lab.Clean(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-programming-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	systems := []lab.System{lab.Minato(o.Minato)}
	for _, mode := range o.Modes {
		systems = append(systems, lab.KubeProxy(o.KubeProxy, mode))
	}
	lab.Progress("starting an API server")
	b := &bench{options: o}
	if b.api, err = lab.StartAPI(ctx, filepath.Join(dir, "api"), nodeName); err != nil {
		return err
	}
	defer b.api.Close()
	defer func() { err = errors.Join(err, lab.Clean(context.Background())) }()
	if err := b.makeTarget(ctx); err != nil {
		return err
	}
	res := result{Machine: lab.ThisMachine(), Endpoints: endpoints}
	for _, n := range o.Sizes {
		began := time.Now()
		if err := b.api.Fill(ctx, n-1, endpoints); err != nil {
			return err
		}
		lab.Progress("%d Services are in the API after %.1f s", n, time.Since(began).Seconds())
		for i, system := range systems {
			loads := 1
			if i == 0 {
				loads = o.loads
			}
			r, err := b.measure(ctx, system, n, loads)
			if err != nil {
				return err
			}
			res.Runs = append(res.Runs, r)
		}
	}
	res.grow()
	if err := lab.WriteJSON(o.Out, res); err != nil {
		return err
	}
	return res.print(os.Stdout)
}
