// Command build makes the images named, or all of them, as archives that
// `minato image load` reads.
//
//	go run ./test/images/build -out build/images [-force] [-list] [-upstream] [-sidecars] [NAME…]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"minato/test/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "build images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	out := flags.String("out", "build/images", "directory for the archives; a cache is kept in .cache below it")
	force := flags.Bool("force", false, "make the images again, with the packages as they are now")
	list := flags.Bool("list", false, "list the images and their names, and make nothing")
	upstream := flags.Bool("upstream", false, "the images of Kubernetes' end-to-end suite, all of them")
	sidecars := flags.Bool("sidecars", false, "the images of CSI drivers for tests and of what stands beside them, all of them")
	validation := flags.Bool("validation", false, "the images of the CRI's validation suite, all of them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	recipes, err := images.Select(flags.Args()...)
	if err != nil {
		return err
	}
	if *upstream {
		recipes = images.Upstream()
	}
	if *sidecars {
		recipes = slices.Concat(images.Sidecars(), images.Drivers())
	}
	if *validation {
		recipes = images.Validation()
	}
	if *list {
		for _, r := range recipes {
			fmt.Printf("%-10s %s\n", r.Name, strings.Join(r.Tags, " "))
		}
		return nil
	}
	b, err := images.New(images.Config{Out: *out, Force: *force, Log: os.Stderr})
	if err != nil {
		return err
	}
	return b.Build(ctx, recipes)
}
