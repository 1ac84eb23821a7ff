// Command start measures a cold start: from `minato up` to every node Ready,
// to DNS answering, and to the first HTTP answer through a Service, with each
// stage's share, and the resident memory of everything Minato runs when idle.
//
// It is run as root by `make bench-start`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

const clusterName = "bench"

// run is one cold start.
type run struct {
	Stages    []stage       `json:"stages"`
	Ready     time.Duration `json:"nodesReadyNS"`
	DNS       time.Duration `json:"dnsAnswersNS"`
	UpReturns time.Duration `json:"upReturnsNS"`
	FirstHTTP time.Duration `json:"firstHTTPAnswerNS"` // from the start of `up`, with the image loaded and the objects created after it
	Load      time.Duration `json:"imageLoadNS"`
	Memory    int64         `json:"idleMemoryBytes"`
}

// stage is as the server reports it, in nanoseconds since its start.
type stage struct {
	Name string        `json:"stage"`
	At   time.Duration `json:"at"`
	Took time.Duration `json:"took"`
}

type result struct {
	Cores     int    `json:"cores"`
	Nodes     int    `json:"nodes"`
	Ephemeral bool   `json:"ephemeral"`
	Runs      []run  `json:"runs"`
	Median    run    `json:"median"`
	Kernel    string `json:"kernel"`
}

type options struct {
	minato, images, out string
	nodes, runs         int
	ephemeral           bool
	settle              time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.minato, "minato", "bin/minato", "the binary")
	flag.StringVar(&o.images, "images", "build/images", "directory of the test images")
	flag.StringVar(&o.out, "out", "build/bench/start.json", "where to write the figures")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes of the cluster")
	flag.IntVar(&o.runs, "runs", 5, "cold starts to measure; the median is reported")
	flag.BoolVar(&o.ephemeral, "ephemeral", false, "measure `minato up --ephemeral`")
	flag.DurationVar(&o.settle, "settle", 20*time.Second, "how long the cluster idles before its memory is read")
	flag.Parse()
	if err := bench(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-start:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "minato-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bencher{options: o, kubeconfig: filepath.Join(dir, "kubeconfig")}
	defer b.minatoCommand(ctx, "delete", "--ignore-not-found", "--name", clusterName).Run()
	res := result{Cores: runtime.NumCPU(), Nodes: o.nodes, Ephemeral: o.ephemeral, Kernel: kernel()}
	// The first start reads the binary from disk; it is not counted.
	for i := range o.runs + 1 {
		r, err := b.coldStart(ctx, i == o.runs)
		if err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		fmt.Fprintf(os.Stderr, "run %d of %d: nodes Ready %s, DNS %s, first HTTP answer %s\n", i, o.runs, ms(r.Ready), ms(r.DNS), ms(r.FirstHTTP))
		res.Runs = append(res.Runs, r)
	}
	sorted := slices.Clone(res.Runs)
	slices.SortFunc(sorted, func(a, b run) int { return int(a.DNS - b.DNS) })
	res.Median = sorted[len(sorted)/2]
	res.Median.Memory = res.Runs[len(res.Runs)-1].Memory
	if err := write(o.out, res); err != nil {
		return err
	}
	return print(os.Stdout, res)
}

// bencher starts and asks one cluster.
type bencher struct {
	options
	kubeconfig string
}

func (b *bencher) minatoCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.minato, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.kubeconfig)
	return cmd
}

func (b *bencher) do(ctx context.Context, args ...string) ([]byte, error) {
	out, err := b.minatoCommand(ctx, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("minato %v: %w: %s", args, err, exit.Stderr)
	}
	return out, err
}

// coldStart measures one start from nothing; memory is read where asked for,
// as it takes its time to settle.
func (b *bencher) coldStart(ctx context.Context, memory bool) (run, error) {
	var r run
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if _, err := b.do(ctx, "delete", "--ignore-not-found", "--name", clusterName); err != nil {
		return r, err
	}
	up := []string{"up", "--name", clusterName, "--nodes", fmt.Sprint(b.nodes), "--kubeconfig", b.kubeconfig}
	if b.ephemeral {
		up = append(up, "--ephemeral")
	}
	began := time.Now()
	if _, err := b.do(ctx, up...); err != nil {
		return r, err
	}
	r.UpReturns = time.Since(began)
	if err := b.readStages(ctx, &r); err != nil {
		return r, err
	}
	if memory {
		if err := b.idleMemory(ctx, &r); err != nil {
			return r, err
		}
		began = began.Add(b.settle) // idling is no part of the way to the first answer
	}
	loading := time.Now()
	if _, err := b.do(ctx, "image", "load", "--name", clusterName, filepath.Join(b.images, "whoami.tar")); err != nil {
		return r, err
	}
	r.Load = time.Since(loading)
	if _, err := b.do(ctx, "kubectl", "--name", clusterName, "apply", "-f", "demo/demo.yaml"); err != nil {
		return r, err
	}
	if err := firstAnswer(ctx, "http://172.30.0.11:30080"); err != nil {
		return r, err
	}
	r.FirstHTTP = time.Since(began)
	_, err := b.do(ctx, "delete", "--ignore-not-found", "--name", clusterName)
	return r, err
}

func (b *bencher) readStages(ctx context.Context, r *run) error {
	data, err := b.do(ctx, "status", "--name", clusterName, "-o", "json")
	if err != nil {
		return err
	}
	var status struct {
		Stages []stage `json:"stages"`
	}
	if err := json.Unmarshal(data, &status); err != nil {
		return err
	}
	for _, s := range status.Stages {
		switch s.Name {
		case "nodes Ready":
			r.Ready = s.At
		case "DNS answers on every node":
			r.DNS = s.At
		}
		if s.Name != "" {
			r.Stages = append(r.Stages, s)
		}
	}
	if r.Ready == 0 || r.DNS == 0 {
		return fmt.Errorf("the stages do not tell when nodes and DNS were ready: %s", data)
	}
	// Stages count from the server's start; users count from `up`.
	launch := max(0, r.UpReturns-r.DNS)
	r.Ready, r.DNS = r.Ready+launch, r.DNS+launch
	return nil
}

func (b *bencher) idleMemory(ctx context.Context, r *run) error {
	select {
	case <-time.After(b.settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	data, err := b.do(ctx, "status", "--name", clusterName, "-o", "json")
	if err != nil {
		return err
	}
	var status struct {
		Memory int64 `json:"memoryBytes"`
	}
	err = json.Unmarshal(data, &status)
	r.Memory = status.Memory
	return err
}

// firstAnswer asks until the Service answers.
func firstAnswer(ctx context.Context, url string) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		resp, err := client.Get(url)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s did not answer: %w", url, errors.Join(err, ctx.Err()))
		}
	}
}

func print(out io.Writer, res result) error {
	m := res.Median
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\ncold start, %d nodes, %d cores, ephemeral %t, median of %d\n\n", res.Nodes, res.Cores, res.Ephemeral, len(res.Runs))
	fmt.Fprintln(w, "stage\tat\ttook\tshare\t")
	for _, s := range m.Stages {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f %%\t\n", s.Name, ms(s.At), ms(s.Took), 100*float64(s.Took)/float64(m.DNS))
	}
	fmt.Fprintln(w, "\t\t\t\t")
	fmt.Fprintf(w, "every node Ready\t%s\t\t\t\n", ms(m.Ready))
	fmt.Fprintf(w, "DNS answers\t%s\t\t\t\n", ms(m.DNS))
	fmt.Fprintf(w, "up returns\t%s\t\t\t\n", ms(m.UpReturns))
	fmt.Fprintf(w, "image load\t\t%s\t\t\n", ms(m.Load))
	fmt.Fprintf(w, "first HTTP answer\t%s\t\t\t\n", ms(m.FirstHTTP))
	fmt.Fprintf(w, "idle memory\t%d MiB\t\t\t\n", m.Memory>>20)
	return w.Flush()
}

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

func write(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func kernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return string(data[:max(0, len(data)-1)])
}
