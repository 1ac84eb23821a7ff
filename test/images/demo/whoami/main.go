// Command whoami is the demo image's program: it says which Pod answered, over
// HTTP and UDP, and asks others the same, so that one image of a few megabytes
// shows where traffic goes.
//
//	whoami                          answer on :8080, HTTP and UDP
//	whoami serve -listen :80 -delay 2s -drain 5s
//	whoami get [-n 10] URL          print what URL answers
//	whoami udp [-n 10] HOST:PORT    print what a datagram is answered with
//	whoami load [-rate 20] [-for 1m] KIND=HOST:PORT...
//	                                ask all the time and tell of what fails
//	whoami hold [-n 1000] HOST:PORT...
//	                                keep as many connections open to each as it lets
//
// It may import the standard library and ../load only: the image holds
// nothing but it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

var errUsage = errors.New("usage: whoami [serve [-listen :8080]] | get [-n COUNT] [-timeout 5s] URL | udp [-n COUNT] [-timeout 5s] HOST:PORT | load [-name NAME] [-rate 20] [-for 1m] KIND=HOST:PORT... | hold [-n 1000] HOST:PORT...")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		args = []string{"serve"}
	}
	switch args[0] {
	case "serve":
		return serve(ctx, args[1:])
	case "get":
		return ask(ctx, args[0], args[1:], get)
	case "udp":
		return ask(ctx, args[0], args[1:], datagram)
	case "hold":
		return hold(ctx, args[1:], os.Stdout)
	case "load":
		return keepAsking(ctx, args[1:])
	}
	return errUsage
}
