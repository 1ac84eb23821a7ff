// Command ingresspropagation measures how soon the proxies of a cluster follow what is written to the API: a new Ingress, an
// edited one, one that is deleted, and an EndpointSlice that names another endpoint, with few and with many routes; and what
// memory a proxy has then.
//
// Every node's proxy is asked all the time while something is written, over a connection that is kept. A write is followed
// when the last of them has answered as it asks for; an answer that is neither the old nor the new one is an error. What
// answers behind the proxies are two servers of this command, which are endpoints of Services without selectors, so that no
// Pods have a part in it.
//
// It knows the cluster through the Kubernetes API and the answers to its requests; memory is what /proc tells. The cluster
// is its own and is deleted at the end. It is run as root by `make bench-ingress-propagation`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"minato/bench/lab"
)

type options struct {
	minato, out                       string
	name, lan, pods, serviceIPs, port string // of the cluster
	nodes                             int
	disk                              bool
	sizes                             []int
	services, edits                   int
	poll, pause, settle               time.Duration
	patience, limit                   time.Duration
}

func main() {
	lab.Exit("ingresspropagation", func(ctx context.Context) error {
		o, err := parse()
		if err != nil {
			return err
		}
		return bench(ctx, o)
	})
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flag.StringVar(&o.out, "out", "build/bench/ingress-propagation.json", "where the figures go")
	flag.StringVar(&o.name, "name", "propagate", "name of the cluster; one that there is by this name is deleted")
	flag.StringVar(&o.lan, "lan-cidr", "172.25.0.0/16", "range of the nodes' addresses")
	flag.StringVar(&o.pods, "pod-cidr", "10.237.0.0/16", "range of the Pods' addresses")
	flag.StringVar(&o.serviceIPs, "service-cidr", "10.89.0.0/16", "range of the Services' addresses")
	flag.StringVar(&o.port, "api-port", "9443", "port of the API server")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes of the cluster, all of which have to follow")
	flag.BoolVar(&o.disk, "disk", false, "keep the cluster's data on the disk rather than in memory")
	sizes := flag.String("sizes", "10,5000,10000", "numbers of routes, growing; each is an Ingress for a host of its own")
	flag.IntVar(&o.services, "services", 100, "Services that the routes lead to, in turn")
	flag.IntVar(&o.edits, "edits", 200, "measured edits of each kind for each number of routes; an even number, as each is undone by the next")
	flag.DurationVar(&o.poll, "poll", time.Millisecond, "time between an answer and the next request to the same proxy")
	flag.DurationVar(&o.pause, "pause", 20*time.Millisecond, "time between edits")
	flag.DurationVar(&o.settle, "settle", 6*time.Second, "time without edits before memory is read")
	flag.DurationVar(&o.patience, "patience", 2*time.Minute, "how long a single edit may take, and the rest of many")
	flag.DurationVar(&o.limit, "limit", 10*time.Minute, "how long all of it may take; then what was measured is printed")
	flag.Parse()
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return o, fmt.Errorf("-sizes: %w", err)
		}
		o.sizes = append(o.sizes, n)
	}
	return o, o.check()
}

// check tells of what is wrong or missing before anything is made.
func (o *options) check() error {
	var errs []error
	if !slices.IsSorted(o.sizes) || o.sizes[0] < 1 {
		errs = append(errs, errors.New("-sizes: routes are added from size to size; give numbers from 1 on in growing order"))
	}
	if o.edits < 2 || o.edits%2 != 0 {
		errs = append(errs, fmt.Errorf("-edits %d: it is an even number, as each edit is undone by the next", o.edits))
	}
	if o.nodes < 1 || o.services < 1 {
		errs = append(errs, errors.New("-nodes and -services are 1 at least"))
	}
	if _, err := os.Stat(o.minato); err != nil {
		errs = append(errs, fmt.Errorf("%w; make build makes it", err))
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
	res := &result{
		Machine: lab.ThisMachine(), Nodes: o.nodes, Services: o.services, Disk: o.disk, Poll: millis(o.poll),
	}
	defer func() { // what was measured until something failed is worth having
		if len(res.Sizes) > 0 {
			res.print(os.Stdout)
			err = errors.Join(err, lab.WriteJSON(o.out, res))
		}
	}()
	if err := c.start(ctx); err != nil {
		return err
	}
	for _, n := range o.sizes {
		s, err := c.measure(ctx, n)
		if err != nil {
			return fmt.Errorf("%d routes: %w", n, err)
		}
		res.Sizes = append(res.Sizes, s)
	}
	return nil
}
