// Command pods measures the life of Pods: from the request for one to its
// Ready condition, for single Pods and for many at once, and their end; whether
// the API answers meanwhile, and whether watches live on; what a Pod takes of
// memory, and what the cluster takes of the processor when nothing happens. All of
// it for nodes whose Pods Minato's own runtime runs, and for nodes whose Pods
// Debian's containerd runs.
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
	runtimes                  []string
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
	var bursts, up, runtimes string
	flag.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flag.StringVar(&o.images, "images", "build/images", "directory of the test images")
	flag.StringVar(&o.out, "out", "build/bench/pods.json", "where the figures go")
	flag.StringVar(&o.name, "name", "pods", "name of the cluster; one of that name is removed first")
	flag.StringVar(&up, "up", "", "more arguments for minato up, with spaces between, such as ranges that others leave free")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes of the cluster")
	flag.IntVar(&o.singles, "singles", 100, "Pods that are made one after the other")
	flag.StringVar(&bursts, "bursts", "100,300", "how many Pods are made at once, each in its turn")
	flag.StringVar(&runtimes, "runtimes", own+","+theirs, "what runs the Pods, each in its turn")
	flag.DurationVar(&o.settle, "settle", 20*time.Second, "how long the cluster idles before and while its memory and processor time are read")
	flag.DurationVar(&o.patience, "patience", 5*time.Minute, "how long anything may take")
	flag.Parse()
	o.up = strings.Fields(up)
	o.runtimes = strings.Split(runtimes, ",")
	for _, r := range o.runtimes {
		if r != own && r != theirs {
			return o, fmt.Errorf("-runtimes has %q: give %s, %s or both, with a comma between", r, own, theirs)
		}
	}
	var err error
	o.bursts, err = lab.Numbers("bursts", bursts, "Pods", "100,300")
	return o, err
}

// The runtimes that nodes can have here.
const own, theirs = "minato", "containerd"

// result is what was measured.
type result struct {
	Machine  lab.Machine `json:"machine"`
	Nodes    int         `json:"nodes"`
	Runtimes []figures   `json:"runtimes"`
}

// figures are those of nodes with one runtime.
type figures struct {
	Runtime string `json:"runtime"`
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
	// The processor time for a Pod: that of the server and of the programs that it starts and waits for, and all that the
	// machine had, which is more by what the Pod's own program took, shims, and what else ran on the machine.
	Made  processor `json:"perPodMade"`
	Ended processor `json:"perPodEnded"`
}

// processor is time of the processors, in milliseconds.
type processor struct {
	Server  float64 `json:"serverMS"`
	Machine float64 `json:"machineMS"`
}

// idle is what a cluster in which nothing happens takes.
type idle struct {
	Pods      int     `json:"pods"`
	Processor float64 `json:"percentOfOneCore"`
	Server    float64 `json:"serverMiB"` // anonymous memory
	// Others is the memory of what else is there for Pods: conmon, or containerd and its shims.
	Others float64 `json:"othersMiB"`
}

func bench(ctx context.Context, o options) error {
	res := result{Machine: lab.ThisMachine(), Nodes: o.nodes}
	var failed error
	for _, runtime := range o.runtimes {
		f, err := measure(ctx, o, runtime)
		res.Runtimes = append(res.Runtimes, f)
		if err != nil {
			failed = fmt.Errorf("with %s: %w", runtime, err)
			break
		}
	}
	return errors.Join(lab.WriteJSON(o.out, res), print(os.Stdout, res), failed) // what was measured before is worth something
}

func measure(ctx context.Context, o options, runtime string) (f figures, err error) {
	f.Runtime = runtime
	c, err := newCluster(o, runtime)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, c.close(context.WithoutCancel(ctx))) }()
	if err := c.start(ctx); err != nil {
		return f, err
	}
	if f.Idle, err = c.idle(ctx, 0); err != nil {
		return f, err
	}
	if f.Ready, f.Gone, err = c.one(ctx); err != nil {
		return f, err
	}
	for _, n := range c.bursts {
		b, still, err := c.burst(ctx, n)
		if err != nil {
			return f, err
		}
		f.Bursts, f.Working = append(f.Bursts, b), append(f.Working, still)
	}
	return f, nil
}

func print(w io.Writer, res result) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "single Pods\t\tp50\tp90\tp99\tmax\t\n")
	for _, f := range res.Runtimes {
		for _, line := range []struct {
			name   string
			values []float64
		}{{"Ready", f.Ready}, {"gone", f.Gone}} {
			if len(line.values) == 0 {
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t", f.Runtime, line.name)
			for _, q := range []float64{0.5, 0.9, 0.99, 1} {
				fmt.Fprintf(t, "%.0f ms\t", lab.Quantile(line.values, q))
			}
			fmt.Fprintln(t)
		}
	}
	fmt.Fprintf(t, "\t\t\t\t\t\t\nPods at once\t\tall Ready\tp50\tall gone\tread p50\tread max\twatches ended\trestarts\tmade: server\tmachine\tended: server\tmachine\t\n")
	for _, f := range res.Runtimes {
		for _, b := range f.Bursts {
			fmt.Fprintf(t, "%s\t%d\t%.1f s\t%.1f s\t%.1f s\t%.0f ms\t%.0f ms\t%d\t%d\t%.0f ms\t%.0f ms\t%.0f ms\t%.0f ms\t\n", f.Runtime,
				b.Pods, b.Ready, b.ReadyP50, b.Gone, b.ReadP50, b.ReadMax, b.WatchEnded, b.Restarts, b.Made.Server, b.Made.Machine, b.Ended.Server, b.Ended.Machine)
		}
	}
	fmt.Fprintf(t, "\t\t\t\t\t\t\t\t\t\t\t\t\t\nidle with\t\tof a core\tserver\tshims, containerd\t\n")
	for _, f := range res.Runtimes {
		for _, i := range append([]idle{f.Idle}, f.Working...) {
			fmt.Fprintf(t, "%s\t%d Pods\t%.1f %%\t%.0f MiB\t%.0f MiB\t\n", f.Runtime, i.Pods, i.Processor, i.Server, i.Others)
		}
	}
	return t.Flush()
}
