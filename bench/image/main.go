// Command image measures how long the image store of Minato and Debian's
// containerd take to load and to pull the same image, how much memory they take
// meanwhile, and how much of the disk afterwards.
//
// It is run as root by `make bench-image`. Both work on the same file system, one
// after the other; the registry is in this process, on loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"minato/bench/lab"
)

type options struct {
	minato, out, dir string
	size             int64
	layers, rounds   int
}

func main() {
	lab.Exit("image", func(ctx context.Context) error {
		var o options
		flag.StringVar(&o.minato, "minato", "bin/minato", "the binary")
		flag.StringVar(&o.out, "out", "build/bench/image.json", "where the figures go")
		flag.StringVar(&o.dir, "dir", "/var/tmp", "where the image and the stores are, up to three times -size")
		flag.Int64Var(&o.size, "size", 1<<30, "bytes of the image's files")
		flag.IntVar(&o.layers, "layers", 12, "layers of the image")
		flag.IntVar(&o.rounds, "rounds", 3, "how often each is measured; medians are told")
		flag.Parse()
		if o.layers < 1 || o.rounds < 1 || o.size < int64(o.layers) {
			return errors.New("-size, -layers and -rounds: give numbers from 1 on")
		}
		return bench(ctx, o)
	})
}

// figure is what one way to get the image took.
type figure struct {
	Who, How string
	Seconds  []float64 `json:"seconds"`
	// PeakMiB is the most memory that the processes took which did it.
	PeakMiB []float64 `json:"peakMiB"`
	// DiskMiB is what the store took afterwards, for one node.
	DiskMiB float64 `json:"diskMiB"`
	// ThreeNodesMiB is the same for three nodes.
	ThreeNodesMiB float64 `json:"threeNodesMiB"`
}

type result struct {
	Machine lab.Machine `json:"machine"`
	Size    int64       `json:"imageBytes"`
	Layers  int         `json:"layers"`
	Figures []figure    `json:"figures"`
}

func bench(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "minato-bench-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	lab.Progress("making an image of %d MiB in %d layers", o.size>>20, o.layers)
	img, err := newImage(o.size, o.layers)
	if err != nil {
		return err
	}
	r := result{Machine: lab.ThisMachine(), Size: o.size, Layers: o.layers}
	systems := []system{&ours{binary: o.minato, name: "imgbench", kubeconfig: filepath.Join(dir, "kubeconfig")}, &containerd{dir: filepath.Join(dir, "containerd")}}
	// One after the other, since each takes room on the disk.
	if err := errors.Join(loads(ctx, o, dir, img, systems, &r), pulls(ctx, o, dir, img, systems, &r)); err != nil {
		return err
	}
	show(r)
	return lab.WriteJSON(o.out, r)
}

func loads(ctx context.Context, o options, dir string, img v1.Image, systems []system, r *result) (err error) {
	archive := filepath.Join(dir, "image.tar")
	if err := writeArchive(archive, "bench/image:v1", img); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(archive)) }()
	return all(ctx, o, "load", systems, r, func(ctx context.Context, s system) (time.Duration, float64, error) { return s.load(ctx, archive) })
}

func pulls(ctx context.Context, o options, dir string, img v1.Image, systems []system, r *result) (err error) {
	blobs := filepath.Join(dir, "registry")
	reg, err := startRegistry(blobs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reg.Close(), os.RemoveAll(blobs)) }()
	ref := reg.host + "/bench/image:v1"
	if err := push(ctx, ref, img); err != nil {
		return err
	}
	return all(ctx, o, "pull", systems, r, func(ctx context.Context, s system) (time.Duration, float64, error) { return s.pull(ctx, ref) })
}

func all(ctx context.Context, o options, how string, systems []system, r *result, get func(context.Context, system) (time.Duration, float64, error)) error {
	for _, s := range systems {
		f, err := measure(ctx, s, how, o.rounds, func(ctx context.Context) (time.Duration, float64, error) { return get(ctx, s) })
		if err != nil {
			return fmt.Errorf("%s, %s: %w", s.who(), how, err)
		}
		r.Figures = append(r.Figures, f)
	}
	return nil
}

// system is one that has images.
type system interface {
	who() string
	// shared says that nodes share a store.
	shared() bool
	start(ctx context.Context) error
	load(ctx context.Context, archive string) (time.Duration, float64, error)
	pull(ctx context.Context, ref string) (time.Duration, float64, error)
	store() string
	stop() error
}

// measure begins each round with an empty store.
func measure(ctx context.Context, s system, how string, rounds int, get func(context.Context) (time.Duration, float64, error)) (f figure, err error) {
	f = figure{Who: s.who(), How: how}
	for i := range rounds {
		lab.Progress("%s: %s, round %d of %d", s.who(), how, i+1, rounds)
		if err := s.start(ctx); err != nil {
			return f, errors.Join(err, s.stop())
		}
		took, peak, err := get(ctx)
		if err == nil {
			f.Seconds, f.PeakMiB = append(f.Seconds, took.Seconds()), append(f.PeakMiB, peak)
			f.DiskMiB, err = diskMiB(s.store())
		}
		if err = errors.Join(err, s.stop()); err != nil {
			return f, err
		}
	}
	f.ThreeNodesMiB = f.DiskMiB
	if !s.shared() {
		f.ThreeNodesMiB *= 3
	}
	return f, nil
}

func show(r result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\tseconds\tpeak memory MiB\tdisk MiB\tthree nodes MiB")
	for _, f := range r.Figures {
		fmt.Fprintf(w, "%s %s\t%.1f\t%.0f\t%.0f\t%.0f\n", f.Who, f.How, lab.Median(f.Seconds), lab.Median(f.PeakMiB), f.DiskMiB, f.ThreeNodesMiB)
	}
	_ = w.Flush() // to the terminal
}
