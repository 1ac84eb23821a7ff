// Command conformance runs specs of Kubernetes' own end-to-end suite against a
// cluster that it makes for them and removes afterwards, whatever happens. The
// suite is built from the release of Kubernetes that Minato is made of
// (upstream/go.mod), and so are the images that the specs run (test/images).
//
//	go run ./test/conformance -minato bin/minato -focus 'LoadBalancers'
//
// Specs run side by side, and after them, one by one, those that are marked as
// serial. The images are in a registry on the loopback, from which the nodes
// pull them.
//
// The suite runs in a network namespace of its own, whose address is not the
// LAN's: from there requests come to the cluster through a router, as from
// most clients, and specs can see whether their source address is kept.
//
// docs/conformance.md says what is stood in for. It runs as root, by
// `make conformance`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	minato, out, images   string
	focus, skip           string
	name                  string
	nodes, procs, port    int
	family                string
	lan, pods, services   string
	timeout               time.Duration
	realImages, buildOnly bool
	noBuild               bool
	csi                   bool
	driver                string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flags.StringVar(&o.out, "out", "build/conformance", "directory for the programs and the reports")
	flags.StringVar(&o.images, "images", "build/images", "directory for the images")
	flags.StringVar(&o.focus, "focus", `\[Conformance\]`, "run the specs that match this pattern")
	flags.StringVar(&o.skip, "skip", "", "but not those that match this one")
	flags.StringVar(&o.name, "name", "conform", "name of the cluster; one of that name is removed first")
	flags.IntVar(&o.nodes, "nodes", 3, "nodes of the cluster")
	flags.IntVar(&o.procs, "procs", 4, "how many specs run at the same time, but for serial ones")
	flags.StringVar(&o.family, "ip-family", "ipv4", "addresses of the cluster: ipv4, ipv6 or dual")
	flags.StringVar(&o.lan, "lan-cidr", "172.29.0.0/16,fd00:172:29::/64", "ranges of the nodes' addresses")
	flags.StringVar(&o.pods, "pod-cidr", "10.242.0.0/16,fd00:10:242::/56", "ranges of the Pods' addresses")
	flags.StringVar(&o.services, "service-cidr", "10.94.0.0/16,fd00:10:94::/112", "ranges of the Services' addresses")
	flags.IntVar(&o.port, "api-port", 8443, "port of the API server")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Hour, "end each part of the specs, those side by side and the serial ones, after this time")
	flags.BoolVar(&o.realImages, "real-images", false, "make no images: let the nodes pull the real ones from their registry")
	flags.BoolVar(&o.buildOnly, "build-only", false, "build the programs and the images, and start nothing")
	flags.BoolVar(&o.noBuild, "no-build", false, "take the programs and images that an earlier run has built")
	flags.BoolVar(&o.csi, "csi", false, "deploy the CSI driver of test/csi with upstream's sidecars, so that there are specs of external storage for it, and have the images that specs with a CSI driver of their own run")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q; specs are chosen with -focus", flags.Arg(0))
	}
	if o.noBuild && o.buildOnly {
		return o, errors.New("-no-build and -build-only leave nothing to do")
	}
	var err error
	o.driver = csiTest // the suite runs elsewhere
	for _, path := range []*string{&o.minato, &o.out, &o.images, &o.driver} {
		if *path, err = filepath.Abs(*path); err != nil {
			return o, err
		}
	}
	return o, nil
}

// cleanupTime bounds the removal of everything that a run made.
const cleanupTime = 2 * time.Minute

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	c, err := newCluster(o)
	if err != nil {
		return err
	}
	if !o.noBuild {
		if err := build(ctx, o); err != nil {
			return err
		}
	}
	if o.buildOnly {
		return nil
	}
	if os.Getuid() != 0 {
		return errors.New("a cluster needs root's rights; run it as root")
	}
	defer func() {
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		err = errors.Join(err, c.remove(rest))
	}()
	if err := c.start(ctx); err != nil {
		return err
	}
	var all report
	for _, p := range parts {
		specs := c.runSpecs(ctx, p)
		r, err := readReport(filepath.Join(o.out, p.reportFile()))
		if err != nil {
			return errors.Join(specs, err)
		}
		r.printSpecs(os.Stdout)
		all = all.with(r)
		if specs != nil {
			return errors.Join(all.printSums(os.Stdout), specs)
		}
	}
	return all.printSums(os.Stdout)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}
