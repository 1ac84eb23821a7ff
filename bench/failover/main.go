// Command failover measures load balancers of layer 2 beside each other: Minato's
// own and MetalLB, which is built from its Go module and runs on the same nodes
// of the same cluster, for Services of a class of its own.
//
// It counts what clients notice when the node that answers for an address dies
// without warning: for how long no connection can be opened, and which
// established connections through nodes that live are cut. And it measures
// how soon many Services have addresses that are answered for, and how soon
// one more has. Both systems are measured in turn, so that a machine that is
// busy with other things disturbs both.
//
// It knows the systems through the Kubernetes API and from what clients see on
// the wire. It is run as root by `make bench-failover`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"minato/bench/lab"
)

type options struct {
	minato, images, metallb, out string
	systems                      []string
	nodes                        int
	runs                         map[way]int
	policy                       string
	rate, hold                   int
	services, rounds, changes    int
	patience, limit              time.Duration
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == roleArgument {
		if err := play(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	lab.Exit("failover", func(ctx context.Context) error {
		o, err := parse()
		if err != nil {
			return err
		}
		return bench(ctx, o)
	})
}

func parse() (options, error) {
	o := options{runs: map[way]int{}}
	var systems string
	var link, silent, removed int
	flag.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flag.StringVar(&o.images, "images", "build/images", "directory of the test images")
	flag.StringVar(&o.metallb, "metallb", "build/bench/metallb", "directory of MetalLB's controller and speaker")
	flag.StringVar(&o.out, "out", "build/bench/failover.json", "where the figures go")
	flag.StringVar(&systems, "systems", "minato,metallb", "what is measured")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes of the cluster")
	flag.IntVar(&link, "runs", 20, "how often the announcing node's link goes down, for each system")
	flag.IntVar(&silent, "silent", 5, "how often it is unplugged without its link going down")
	flag.IntVar(&removed, "removed", 2, "how often its interface is removed, after which the cluster is restarted")
	flag.StringVar(&o.policy, "policy", "Cluster", "external traffic policy of the Services: Cluster or Local")
	flag.IntVar(&o.rate, "rate", 200, "connections a second")
	flag.IntVar(&o.hold, "hold", 100, "connections that are held open")
	flag.IntVar(&o.services, "services", 2000, "Services that get addresses at once")
	flag.IntVar(&o.rounds, "rounds", 2, "how often they do, for each system; 0 for never")
	flag.IntVar(&o.changes, "changes", 20, "changes with so many Services, each round")
	flag.DurationVar(&o.patience, "patience", 4*time.Minute, "how long a system may take for anything")
	flag.DurationVar(&o.limit, "limit", time.Hour, "how long all of it may take; then what was measured is printed")
	quick := flag.Bool("quick", false, "a look only: few runs, one round")
	flag.Parse()
	if *quick {
		link, silent, removed, o.rounds = 3, 1, 1, 1
	}
	o.runs = map[way]int{linkDown: link, unplugged: silent, interfaceGone: removed}
	o.systems = strings.Split(systems, ",")
	return o, o.check()
}

// check tells of what is wrong or missing before anything is made.
func (o *options) check() error {
	var errs []error
	for _, s := range o.systems {
		if s != minatoName && s != metallbName {
			errs = append(errs, fmt.Errorf("-systems: there is no %q; there are %s and %s", s, minatoName, metallbName))
		}
	}
	if o.policy != "Cluster" && o.policy != "Local" {
		errs = append(errs, fmt.Errorf("-policy %s: it is Cluster or Local", o.policy))
	}
	if o.nodes < 2 {
		errs = append(errs, errors.New("-nodes: it takes two for one to take over"))
	}
	if o.services > maxServices {
		errs = append(errs, fmt.Errorf("-services: the pools have %d addresses", maxServices))
	}
	needed := map[string]string{o.minato: "make build", filepath.Join(o.images, "whoami.tar"): "make images"}
	if slices.Contains(o.systems, metallbName) {
		for _, program := range metallbPrograms {
			needed[filepath.Join(o.metallb, program)] = "make metallb (without its module in reach: -systems minato)"
		}
	}
	for path, remedy := range needed {
		if _, err := os.Stat(path); err != nil {
			errs = append(errs, fmt.Errorf("%w; %s makes it", err, remedy))
		}
	}
	if os.Getuid() != 0 {
		errs = append(errs, errors.New("a cluster needs root's rights; run it as root"))
	}
	return errors.Join(errs...)
}

// cleanupTime bounds the removal of what was made.
const cleanupTime = 2 * time.Minute

func bench(ctx context.Context, o options) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("the benchmark took longer than %s (-limit)", o.limit))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
	}()
	c, err := newCluster(o)
	if err != nil {
		return err
	}
	defer func() {
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		err = errors.Join(err, c.close(rest))
	}()
	res := &result{Machine: lab.ThisMachine(), Nodes: o.nodes, Policy: o.policy, Rate: o.rate, Held: o.hold}
	defer func() { // what was measured until something failed is worth having
		if len(res.Runs)+len(res.Allocations) == 0 {
			return
		}
		res.sumUp()
		err = errors.Join(err, res.print(os.Stdout), lab.WriteJSON(o.out, res))
	}()
	// What the disk does is no part of this, so the data is in memory, but where a start must find it again.
	if o.rounds > 0 || o.runs[linkDown] > 0 || o.runs[unplugged] > 0 {
		if err := c.start(ctx, "--ephemeral"); err != nil {
			return err
		}
		if err := c.failovers(ctx, res, linkDown, unplugged); err != nil {
			return err
		}
		if err := c.allocations(ctx, res); err != nil {
			return err
		}
	}
	if o.runs[interfaceGone] > 0 {
		if err := c.start(ctx); err != nil {
			return err
		}
		return c.failovers(ctx, res, interfaceGone)
	}
	return nil
}
