// Command critest runs the validation suite of sigs.k8s.io/cri-tools against the
// CRI that a node of a cluster serves on its socket. It makes the cluster, and
// removes it afterwards, whatever happens. It fails if a spec fails that is not
// among the exceptions, each of which has its reason here.
//
// The suite runs on the node as a program of the machine would on its own node:
// in the node's network and mount namespaces and its cgroup. The images that it
// pulls are stand-ins of test/images, from a registry on the loopback interface
// that answers under the names of the real ones.
//
// It runs as root, by `make critest`.
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
	minato, suite, out, images string
	focus, name                string
	lan, pods, services        string
	timeout                    time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "critest:", err)
		os.Exit(1)
	}
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flag.StringVar(&o.suite, "suite", "build/critest/critest", "the suite's program")
	flag.StringVar(&o.out, "out", "build/critest", "directory for the reports")
	flag.StringVar(&o.images, "images", "build/images", "directory of the images")
	flag.StringVar(&o.focus, "focus", "", "run the specs that match this pattern; all if empty")
	flag.StringVar(&o.name, "name", "critest", "name of the cluster; one of that name is removed first")
	flag.StringVar(&o.lan, "lan-cidr", "172.28.0.0/16", "range of the nodes' addresses")
	flag.StringVar(&o.pods, "pod-cidr", "10.240.0.0/16", "range of the Pods' addresses")
	flag.StringVar(&o.services, "service-cidr", "10.92.0.0/16", "range of the Services' addresses")
	flag.DurationVar(&o.timeout, "timeout", 20*time.Minute, "end the specs after this time")
	flag.Parse()
	var err error
	for _, path := range []*string{&o.minato, &o.suite, &o.out, &o.images} {
		if *path, err = filepath.Abs(*path); err != nil {
			return o, err
		}
	}
	return o, nil
}

// cleanupTime bounds the removal of everything that a run made.
const cleanupTime = 2 * time.Minute

func run(ctx context.Context) (err error) {
	o, err := parse()
	if err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("a cluster needs root's rights; run it as root")
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	r, err := openRegistry(ctx, o.images, filepath.Join(o.out, "ca.pem"))
	if err != nil {
		return fmt.Errorf("make the registry: %w", err)
	}
	defer r.close()
	c := &cluster{options: o, registry: r}
	defer func() {
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		err = errors.Join(err, c.remove(rest))
	}()
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := c.runSpecs(ctx); err != nil {
		return err
	}
	specs, err := read(c.report())
	if err != nil {
		return err
	}
	return judge(specs, o.focus == "")
}
