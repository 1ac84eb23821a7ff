// Command ingress measures the data path of the Ingress beside nginx and HAProxy, and beside Traefik and Caddy where they
// were built: small requests, new connections, TLS handshakes, large bodies both ways, many routes, HTTP/2 and gRPC.
//
// Every proxy keeps to one processor, and what loads them and answers them to another one, so a machine needs two. All
// proxies run at once and are loaded in turn, in another order each round; the middle of all rounds is told. What a
// request costs is the processor time that a proxy took for it, which a machine that is busy with other things changes
// little; a rate is what came through beside those.
//
// Everything runs in namespaces of its own and ends with it. It is run as root by `make bench-ingress`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"minato/bench/lab"
)

type options struct {
	out, traefik, caddy string
	rounds              int
	slice               time.Duration
	only                string
	workloads           *regexp.Regexp
	profile             string
	accessLog           bool
}

func main() {
	if len(os.Args) > 1 {
		if play := roles()[os.Args[1]]; play != nil {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			defer stop()
			if err := play(ctx, os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "bench/ingress %s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	lab.Exit("ingress", func(ctx context.Context) error {
		o, err := parse()
		if err != nil {
			return err
		}
		if os.Getenv(insideVariable) == "" {
			return enter(ctx)
		}
		return run(ctx, o)
	})
}

// roles are what the command starts itself again for.
func roles() map[string]func(context.Context, []string) error {
	return map[string]func(context.Context, []string) error{
		"backend": playBackend, "grpc": playGRPC, "proxy": playProxy, "handshakes": playHandshakes,
	}
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.out, "out", "build/bench/ingress.json", "the file for the figures")
	flag.StringVar(&o.traefik, "traefik", "build/bench/traefik", "Traefik's program; left out if it is not there")
	flag.StringVar(&o.caddy, "caddy", "build/bench/caddy", "Caddy's program; left out if it is not there")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each proxy is loaded with each workload")
	flag.DurationVar(&o.slice, "slice", 2*time.Second, "how long, each time")
	flag.StringVar(&o.only, "only", "", "the names of the proxies to measure, with commas between them; all if empty")
	flag.StringVar(&o.profile, "profile", "", "a file for a profile of Minato's processor time")
	flag.BoolVar(&o.accessLog, "access-log", false, "have Minato and nginx write an access log, to a file in memory")
	workloads := flag.String("workloads", "", "a pattern for the names of the workloads to measure")
	flag.Parse()
	var err error
	if o.workloads, err = regexp.Compile(*workloads); err != nil {
		return o, fmt.Errorf("-workloads: %w", err)
	}
	if o.slice < 500*time.Millisecond {
		return o, errors.New("-slice is too short to tell processor time: give 500ms or more")
	}
	return o, nil
}

func (o options) wants(peer string) bool {
	for _, name := range strings.Split(o.only, ",") {
		if o.only == "" || strings.TrimSpace(name) == peer {
			return true
		}
	}
	return false
}

func run(ctx context.Context, o options) (err error) {
	s, err := newStage(ctx, o)
	if s != nil {
		defer func() { err = errors.Join(err, s.close()) }()
	}
	if err != nil {
		return err
	}
	if err := s.measure(ctx); err != nil {
		return err
	}
	res := s.result()
	res.print(os.Stdout)
	return lab.WriteJSON(o.out, res)
}
