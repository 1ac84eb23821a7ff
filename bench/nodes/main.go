// Command nodes measures what nodes cost: for clusters of different sizes how long a
// start takes until every node is Ready and DNS answers on it, how long the end takes,
// and what the cluster takes of memory and of the processor while nothing happens.
//
// It knows the cluster through its status and from /proc. It is run as root by
// `make bench-nodes`.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"minato/bench/lab"
)

type options struct {
	minato, out, name string
	sizes             []int
	runs              int
	settle, patience  time.Duration
}

func main() {
	lab.Exit("nodes", func(ctx context.Context) error {
		o, err := parse()
		if err != nil {
			return err
		}
		return bench(ctx, o)
	})
}

func parse() (options, error) {
	var o options
	var sizes string
	flag.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flag.StringVar(&o.out, "out", "build/bench/nodes.json", "where the figures go")
	flag.StringVar(&o.name, "name", "nodes", "name of the clusters; one of that name is removed first")
	flag.StringVar(&sizes, "sizes", "3,10,30,100", "numbers of nodes, in turn")
	flag.IntVar(&o.runs, "runs", 3, "starts of each size; the middle one is reported")
	flag.DurationVar(&o.settle, "settle", 20*time.Second, "how long a cluster idles before, and while, its processor time is read")
	flag.DurationVar(&o.patience, "patience", 2*time.Minute, "how long a start or an end may take")
	flag.Parse()
	if o.runs < 1 {
		return o, fmt.Errorf("-runs %d: one at least", o.runs)
	}
	var err error
	o.sizes, err = lab.Numbers("sizes", sizes, "nodes", "3,30")
	return o, err
}

// size is what clusters of one size take.
type size struct {
	Nodes int `json:"nodes"`
	// Seconds of each run: Ready is until every node is, DNS until it answers on every
	// node, Up until `minato up` has returned, Down what `minato delete` takes.
	Ready []float64 `json:"readySeconds"`
	DNS   []float64 `json:"dnsSeconds"`
	Up    []float64 `json:"upSeconds"`
	Down  []float64 `json:"deleteSeconds"`
	// Processor is in percent of one core, and Memory in MiB: the server's, without pages
	// of files, once it idles. Both are of the last run.
	Processor float64 `json:"idleProcessorPercent"`
	Memory    float64 `json:"memoryMiB"`
}

type result struct {
	Machine lab.Machine `json:"machine"`
	Sizes   []size      `json:"sizes"`
}

func bench(ctx context.Context, o options) (err error) {
	res := result{Machine: lab.ThisMachine()}
	dir, err := os.MkdirTemp("", "minato-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &cluster{options: o, kubeconfig: dir + "/kubeconfig"}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.patience)
		defer cancel()
		if _, gone := c.do(end, "delete", "--ignore-not-found", "--name", o.name); err == nil {
			err = gone
		}
	}()
	for _, n := range o.sizes {
		s := size{Nodes: n}
		for i := range o.runs {
			if err := c.run(ctx, &s, i == o.runs-1); err != nil {
				return fmt.Errorf("%d nodes: %w", n, err)
			}
		}
		res.Sizes = append(res.Sizes, s)
	}
	if err := lab.WriteJSON(o.out, res); err != nil {
		return err
	}
	return res.print(os.Stdout)
}

type cluster struct {
	options
	kubeconfig string
}

func (c *cluster) do(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	return lab.Command(ctx, nil, c.minato, args...)
}

// run is one start and end.
func (c *cluster) run(ctx context.Context, s *size, idle bool) error {
	if _, err := c.do(ctx, "delete", "--ignore-not-found", "--name", c.name); err != nil {
		return err
	}
	began := time.Now()
	if _, err := c.do(ctx, "up", "--name", c.name, "--nodes", strconv.Itoa(s.Nodes), "--kubeconfig", c.kubeconfig, "--wait", c.patience.String()); err != nil {
		return err
	}
	up := time.Since(began)
	st, err := c.status(ctx)
	if err != nil {
		return err
	}
	ready, dns, err := st.times(s.Nodes)
	if err != nil {
		return err
	}
	launch := max(0, up-dns) // stages count from the server's start
	s.Ready, s.DNS, s.Up = append(s.Ready, (ready+launch).Seconds()), append(s.DNS, (dns+launch).Seconds()), append(s.Up, up.Seconds())
	lab.Progress("%d nodes: Ready after %.2f s", s.Nodes, (ready + launch).Seconds())
	if idle {
		if err := c.idle(ctx, s, st.PID); err != nil {
			return err
		}
	}
	began = time.Now()
	if _, err := c.do(ctx, "delete", "--name", c.name); err != nil {
		return err
	}
	s.Down = append(s.Down, time.Since(began).Seconds())
	return nil
}

func (c *cluster) idle(ctx context.Context, s *size, pid int) error {
	lab.Progress("%d nodes idle for %s", s.Nodes, 2*c.settle)
	if err := lab.Sleep(ctx, c.settle); err != nil {
		return err
	}
	before, began := lab.CPUOf(pid), time.Now()
	if err := lab.Sleep(ctx, c.settle); err != nil {
		return err
	}
	s.Processor = 100 * float64(lab.CPUOf(pid)-before) / float64(time.Since(began))
	s.Memory = float64(lab.ResidentOf(pid)) / (1 << 20)
	return nil
}

// status is what is read of `minato status -o json`.
type status struct {
	PID   int `json:"pid"`
	Nodes []struct {
		Ready bool `json:"ready"`
	} `json:"nodes"`
	Stages []struct {
		Name string        `json:"stage"`
		At   time.Duration `json:"at"`
	} `json:"stages"`
}

func (c *cluster) status(ctx context.Context) (s status, err error) {
	data, err := c.do(ctx, "status", "--name", c.name, "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// times are from the server's start.
func (s *status) times(nodes int) (ready, dns time.Duration, err error) {
	for _, stage := range s.Stages {
		switch stage.Name {
		case "nodes Ready":
			ready = stage.At
		case "DNS answers on every node":
			dns = stage.At
		}
	}
	n := 0
	for _, node := range s.Nodes {
		if node.Ready {
			n++
		}
	}
	if n != nodes || ready == 0 || dns == 0 {
		return 0, 0, fmt.Errorf("%d nodes are Ready after the start, after %s, and DNS answered after %s", n, ready, dns)
	}
	return ready, dns, nil
}

func (r *result) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\n%d cores, Linux %s; the middle one of the starts\n\n", r.Machine.Cores, r.Machine.Kernel)
	fmt.Fprintln(t, "nodes\tReady\tDNS answers\tdelete\tidle, of a core\tmemory\ta further node\t")
	for i, s := range r.Sizes {
		further := ""
		if i > 0 {
			first := r.Sizes[0]
			further = fmt.Sprintf("%.1f MiB", (s.Memory-first.Memory)/float64(s.Nodes-first.Nodes))
		}
		fmt.Fprintf(t, "%d\t%.2f s\t%.2f s\t%.2f s\t%.1f %%\t%.0f MiB\t%s\t\n", s.Nodes, lab.Median(s.Ready), lab.Median(s.DNS), lab.Median(s.Down), s.Processor, s.Memory, further)
	}
	return t.Flush()
}
