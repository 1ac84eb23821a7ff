package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"minato/test/images/demo/load"
)

// keepAsking sends requests for as long as told, tells of each that fails, and
// at the end of all of them.
func keepAsking(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	name := flags.String("name", os.Getenv("POD_NAME"), "who asks, for the report")
	rate := flags.Float64("rate", 20, "requests a second, of all clients together")
	long := flags.Duration("for", time.Minute, "how long to ask")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg := load.Config{Name: *name, Rate: *rate, Failures: os.Stdout}
	for _, text := range flags.Args() {
		t, err := load.ParseTarget(text)
		if err != nil {
			return err
		}
		cfg.Targets = append(cfg.Targets, t)
	}
	g, err := load.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *long)
	defer cancel()
	report := g.Run(ctx)
	fmt.Print(report)
	if n := report.Failed(); n > 0 {
		return fmt.Errorf("%d requests failed", n)
	}
	return nil
}
