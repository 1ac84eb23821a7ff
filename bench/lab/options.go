package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Options are what the benchmarks of Services have in common.
type Options struct {
	Minato, KubeProxy string // programs
	Out               string // file for the figures
	Sizes             []int  // numbers of Services, growing
	Modes             []string
}

// Flags declares the common flags of a benchmark of that name and returns a
// function that reads them once they are parsed. It takes other sizes than those
// that were asked for, unless they are empty.
func (o *Options) Flags(name, sizes, modes string) (read func(sizes string) error) {
	flag.StringVar(&o.Minato, "minato", "bin/minato", "the minato binary")
	flag.StringVar(&o.KubeProxy, "kube-proxy", "build/bench/kube-proxy", "kube-proxy's binary")
	flag.StringVar(&o.Out, "out", filepath.Join("build/bench", name+".json"), "where the figures go")
	asked := flag.String("sizes", sizes, "numbers of Services, growing")
	flag.StringVar(&modes, "modes", modes, "modes of kube-proxy")
	return func(sizes string) error {
		if sizes == "" {
			sizes = *asked
		}
		for text := range strings.SplitSeq(sizes, ",") {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("-sizes: %w", err)
			}
			o.Sizes = append(o.Sizes, n)
		}
		if !slices.IsSorted(o.Sizes) {
			return errors.New("-sizes: Services are added from size to size; give the numbers in growing order")
		}
		o.Modes = strings.FieldsFunc(modes, func(r rune) bool { return r == ',' })
		return checkPrograms(o.Minato, o.KubeProxy)
	}
}

// checkPrograms tells of programs that are not there, before anything is made.
func checkPrograms(paths ...string) error {
	var errs []error
	for _, path := range paths {
		if _, err := exec.LookPath(path); err != nil {
			errs = append(errs, fmt.Errorf("%w; `make build kube-proxy` makes it", err))
		}
	}
	return errors.Join(errs...)
}

// Exit runs a benchmark until it is done or interrupted, and ends the process
// if it failed.
func Exit(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "bench/%s: %v\n", name, err)
		os.Exit(1)
	}
}
