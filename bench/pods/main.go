// Command pods measures the life of Pods: from the request for one to its
// Ready condition, for single Pods and for many at once, and their end; whether
// the API answers meanwhile, and whether watches live on; what a Pod takes of
// memory, and what the cluster takes of the processor when nothing happens.
//
// It knows the cluster through the Kubernetes API and from /proc. It is run as
// root by `make bench-pods`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"minato/bench/lab"
)

type options struct {
	minato, images, out, name string
	nodes, singles            int
	bursts                    []int
	settle, patience          time.Duration
	up                        []string // more arguments of `minato up`
}

func main() {
	lab.Exit("pods", func(ctx context.Context) error {
		o, err := parse()
		if err != nil {
			return err
		}
		return bench(ctx, o)
	})
}

func parse() (options, error) {
	var o options
	var bursts, up string
	flag.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flag.StringVar(&o.images, "images", "build/images", "directory of the test images")
	flag.StringVar(&o.out, "out", "build/bench/pods.json", "where the figures go")
	flag.StringVar(&o.name, "name", "pods", "name of the cluster; one of that name is removed first")
	flag.StringVar(&up, "up", "", "more arguments for minato up, with spaces between, such as ranges that others leave free")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes of the cluster")
	flag.IntVar(&o.singles, "singles", 100, "Pods that are made one after the other")
	flag.StringVar(&bursts, "bursts", "100,300", "how many Pods are made at once, each in its turn")
	flag.DurationVar(&o.settle, "settle", 20*time.Second, "how long the cluster idles before and while its memory and processor time are read")
	flag.DurationVar(&o.patience, "patience", 3*time.Minute, "how long anything may take")
	flag.Parse()
	o.up = strings.Fields(up)
	var err error
	o.bursts, err = lab.Numbers("bursts", bursts, "Pods", "100,300")
	return o, err
}

// result is what was measured.
type result struct {
	Machine lab.Machine `json:"machine"`
	Nodes   int         `json:"nodes"`
	// Milliseconds.
	Ready   []float64 `json:"singleReadyMS"`
	Gone    []float64 `json:"singleGoneMS"`
	Bursts  []burst   `json:"bursts"`
	Idle    idle      `json:"idle"`
	Working []idle    `json:"idleWithPods"`
}

// burst is many Pods at once.
type burst struct {
	Pods       int     `json:"pods"`
	Ready      float64 `json:"allReadySeconds"`
	ReadyP50   float64 `json:"readyP50Seconds"`
	Gone       float64 `json:"allGoneSeconds"`
	ReadP50    float64 `json:"readP50MS"`
	ReadMax    float64 `json:"readMaxMS"`
	WatchEnded int     `json:"watchesEnded"`
	Restarts   int     `json:"restarts"`
	// The processor time for a Pod of the server and of the programs that it starts and waits for.
	MadeCPU  float64 `json:"serverMSPerPodMade"`
	EndedCPU float64 `json:"serverMSPerPodEnded"`
}

// idle is what a cluster in which nothing happens takes.
type idle struct {
	Pods      int     `json:"pods"`
	Processor float64 `json:"percentOfOneCore"`
	Server    float64 `json:"serverMiB"` // anonymous memory
	Shims     float64 `json:"conmonMiB"`
}

func bench(ctx context.Context, o options) (err error) {
	c, err := newCluster(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close(context.WithoutCancel(ctx))) }()
	res := result{Machine: lab.ThisMachine(), Nodes: o.nodes}
	if err := c.measure(ctx, &res); err != nil {
		return err
	}
	return errors.Join(lab.WriteJSON(o.out, res), print(os.Stdout, res))
}

func (c *cluster) measure(ctx context.Context, res *result) error {
	if err := c.start(ctx); err != nil {
		return err
	}
	var err error
	if res.Idle, err = c.idle(ctx, 0); err != nil {
		return err
	}
	if res.Ready, res.Gone, err = c.one(ctx); err != nil {
		return err
	}
	for _, n := range c.bursts {
		b, still, err := c.burst(ctx, n)
		if err != nil {
			return err
		}
		res.Bursts, res.Working = append(res.Bursts, b), append(res.Working, still)
	}
	return nil
}

func print(w io.Writer, res result) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "single Pods\tp50\tp90\tp99\tmax\t\n")
	for _, line := range []struct {
		name   string
		values []float64
	}{{"Ready", res.Ready}, {"gone", res.Gone}} {
		fmt.Fprintf(t, "%s\t", line.name)
		for _, q := range []float64{0.5, 0.9, 0.99, 1} {
			fmt.Fprintf(t, "%.0f ms\t", lab.Quantile(line.values, q))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintf(t, "\t\t\t\t\t\nPods at once\tall Ready\tp50\tall gone\tread p50\tread max\twatches ended\trestarts\tserver, a Pod made\tended\t\n")
	for _, b := range res.Bursts {
		fmt.Fprintf(t, "%d\t%.1f s\t%.1f s\t%.1f s\t%.0f ms\t%.0f ms\t%d\t%d\t%.0f ms\t%.0f ms\t\n",
			b.Pods, b.Ready, b.ReadyP50, b.Gone, b.ReadP50, b.ReadMax, b.WatchEnded, b.Restarts, b.MadeCPU, b.EndedCPU)
	}
	fmt.Fprintf(t, "\t\t\t\t\t\t\t\t\t\t\nidle with\tof a core\tserver\tconmon\t\n")
	for _, i := range append([]idle{res.Idle}, res.Working...) {
		fmt.Fprintf(t, "%d Pods\t%.1f %%\t%.0f MiB\t%.0f MiB\t\n", i.Pods, i.Processor, i.Server, i.Shims)
	}
	return t.Flush()
}
