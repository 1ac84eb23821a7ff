// Command conformance-ingress runs kubernetes-sigs/ingress-controller-conformance, the suite of scenarios for what an
// Ingress must do, against a cluster that it makes for them and removes afterwards, whatever happens.
//
//	go run ./test/conformance-ingress -minato bin/minato [-suite DIR]
//
// The suite is built from its module at a fixed commit, or from a directory that has the suite. It names the image of its backend by a
// digest that only its registry has; that constant is replaced by the name of an image that is made here of the suite's
// own program. Nothing else of the suite is changed.
//
// It runs as root, by `make conformance-ingress`.
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
	minato, out, suite, class, name string
	nodes                           int
	timeout                         time.Duration
	buildOnly                       bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance-ingress:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("conformance-ingress", flag.ContinueOnError)
	flags.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flags.StringVar(&o.out, "out", "build/conformance-ingress", "directory for the suite, its image and the reports")
	flags.StringVar(&o.suite, "suite", "", "directory that has the suite; its module is downloaded without")
	flags.StringVar(&o.class, "class", "minato", "the IngressClass that the suite asks for")
	flags.StringVar(&o.name, "name", "icc", "name of the cluster; one of that name is removed first")
	flags.IntVar(&o.nodes, "nodes", 2, "nodes of the cluster")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Minute, "end the suite after this time")
	flags.BoolVar(&o.buildOnly, "build-only", false, "build the suite and its image, and start nothing")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	for _, path := range []*string{&o.minato, &o.out, &o.suite} {
		if *path == "" {
			continue
		}
		var err error
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
	s, err := build(ctx, o)
	if err != nil {
		return err
	}
	if o.buildOnly {
		return nil
	}
	if os.Getuid() != 0 {
		return errors.New("a cluster needs root's rights; run it as root")
	}
	c := &cluster{options: o}
	defer func() {
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		err = errors.Join(err, c.remove(rest))
	}()
	if err := c.start(ctx, s.image); err != nil {
		return err
	}
	ran := c.runSuite(ctx, s)
	results, err := readReports(s.reports)
	if err != nil {
		return errors.Join(ran, err)
	}
	return errors.Join(print(os.Stdout, results), ran)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}
