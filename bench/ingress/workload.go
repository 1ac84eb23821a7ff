package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"minato/bench/lab"
)

// sample is what one load of one proxy came to.
type sample struct {
	Done           int     // requests or handshakes that went well
	Errors         int     // those that did not
	Seconds        float64 // how long it took
	P50, P99, P999 float64 // microseconds
	CPU            float64 // seconds of the proxy
}

// workload is a way to load a proxy.
type workload struct {
	name  string
	about string
	many  bool // at the process with many routes
	bytes int  // of a body, where throughput matters
	load  func(ctx context.Context, g *generator, s *site) (sample, error)
}

// generator makes load.
type generator struct {
	dir   string
	slice time.Duration
	files int
}

func workloads() []*workload {
	shake := func(kind string, resume bool) func(context.Context, *generator, *site) (sample, error) {
		return func(ctx context.Context, g *generator, s *site) (sample, error) {
			return g.handshakes(ctx, handshakeOrder{Address: s.HTTPS, Name: hostOf(kind), For: g.slice, Workers: 16, Resume: resume})
		}
	}
	const keep = 50
	return []*workload{
		{name: "small", about: "requests with 13 bytes as answer, on 50 connections that are kept", load: func(ctx context.Context, g *generator, s *site) (sample, error) {
			return g.wrk(ctx, keep, "http://"+s.HTTP+"/", "Host: "+webHost)
		}},
		{name: "small-tls", about: "the same over TLS", load: func(ctx context.Context, g *generator, s *site) (sample, error) {
			return g.wrk(ctx, keep, "https://"+strings.Replace(s.HTTPS, "127.0.0.1", hostOf("ecdsa"), 1)+"/", "Host: "+hostOf("ecdsa"))
		}},
		{name: "routes", about: "the same, the last of 10,000 routes", many: true, load: func(ctx context.Context, g *generator, s *site) (sample, error) {
			return g.wrk(ctx, keep, "http://"+s.HTTP+manyPath(manyPaths-1)+"/x", "Host: "+manyHost(manyHosts-1))
		}},
		{name: "close", about: "a new connection for each request", load: func(ctx context.Context, g *generator, s *site) (sample, error) {
			return g.wrk(ctx, keep, "http://"+s.HTTP+"/", "Host: "+webHost, "Connection: close")
		}},
		{name: "rsa", about: "a new connection with a full handshake of TLS 1.3, RSA of 2048 bits", load: shake("rsa", false)},
		{name: "rsa-resumed", about: "the same, resumed", load: shake("rsa", true)},
		{name: "ecdsa", about: "a full handshake, ECDSA on P-256", load: shake("ecdsa", false)},
		{name: "ecdsa-resumed", about: "the same, resumed", load: shake("ecdsa", true)},
		{name: "download", about: "answers of 1 MiB, on 10 connections", bytes: bigSize, load: func(ctx context.Context, g *generator, s *site) (sample, error) {
			return g.wrk(ctx, 10, "http://"+s.HTTP+"/big", "Host: "+webHost)
		}},
		{name: "upload", about: "requests of 1 MiB, on 10 connections", bytes: bigSize, load: func(ctx context.Context, g *generator, s *site) (sample, error) {
			return g.wrk(ctx, 10, "http://"+s.HTTP+"/up", "Host: "+webHost, uploadMark)
		}},
		{name: "http2", about: "small requests by HTTP/2 over TLS, 10 connections with 10 streams", load: func(ctx context.Context, g *generator, s *site) (sample, error) {
			return g.h2load(ctx, s.HTTPS, "https://"+hostOf("ecdsa")+"/")
		}},
		{name: "grpc", about: "calls of gRPC with empty messages over TLS, 10 connections with 10 streams", load: func(ctx context.Context, g *generator, s *site) (sample, error) {
			message := filepath.Join(g.dir, "message")
			if err := os.WriteFile(message, make([]byte, 5), 0o644); err != nil {
				return sample{}, err
			}
			return g.h2load(ctx, s.HTTPS, "https://"+grpcHost+"/bench.Bench/Call", "-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers")
		}},
	}
}

// uploadMark in place of a header field has wrk send a body.
const uploadMark = "POST"

// report has wrk print what is needed, in microseconds.
const report = `
done = function(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("sample %d %d %d %f %f %f\n", summary.requests, summary.duration,
		e.connect + e.read + e.write + e.status + e.timeout,
		latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
`

// wrk makes requests on a number of connections.
func (g *generator) wrk(ctx context.Context, connections int, url string, header ...string) (sample, error) {
	script := report
	args := []string{"-t1", "-c" + strconv.Itoa(connections), fmt.Sprintf("-d%ds", max(1, int(g.slice.Seconds()))), "--timeout", "10s"}
	for _, h := range header {
		if h == uploadMark {
			script += fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = string.rep(\"0123456789abcde\\n\", %d)\n", bigSize/16)
			continue
		}
		args = append(args, "-H", h)
	}
	file := filepath.Join(g.dir, "report.lua")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		return sample{}, err
	}
	out, err := g.run(ctx, append(append([]string{"wrk"}, args...), "-s", file, url)...)
	if err != nil {
		return sample{}, err
	}
	_, line, ok := strings.Cut(out, "sample ")
	var s sample
	var micros int64
	if !ok {
		return s, fmt.Errorf("wrk says %q", out)
	}
	if _, err := fmt.Sscan(line, &s.Done, &micros, &s.Errors, &s.P50, &s.P99, &s.P999); err != nil {
		return s, fmt.Errorf("wrk says %q: %w", out, err)
	}
	s.Seconds = float64(micros) / 1e6
	return s, nil
}

var h2Requests = regexp.MustCompile(`requests: .*?(\d+) done, (\d+) succeeded`)
var h2Finished = regexp.MustCompile(`finished in ([\d.]+)(s|ms)`)

// h2load makes requests with HTTP/2. What each took is in a file that it writes.
func (g *generator) h2load(ctx context.Context, address, url string, more ...string) (sample, error) {
	g.files++
	file := filepath.Join(g.dir, fmt.Sprintf("h2load-%d", g.files))
	defer os.Remove(file)
	args := append([]string{"h2load", "-t1", "-c10", "-m10", fmt.Sprintf("-D%d", max(1, int(g.slice.Seconds()))), "--log-file=" + file, "--connect-to=" + address}, more...)
	out, err := g.run(ctx, append(args, url)...)
	if err != nil {
		return sample{}, err
	}
	requests, finished := h2Requests.FindStringSubmatch(out), h2Finished.FindStringSubmatch(out)
	if requests == nil || finished == nil {
		return sample{}, fmt.Errorf("h2load says %q", out)
	}
	var s sample
	var all int
	if _, err := fmt.Sscan(requests[1]+" "+requests[2]+" "+finished[1], &all, &s.Done, &s.Seconds); err != nil {
		return s, err
	}
	if finished[2] == "ms" {
		s.Seconds /= 1000
	}
	s.Errors = all - s.Done
	took, err := h2Durations(file)
	s.P50, s.P99, s.P999 = lab.Quantile(took, 0.5), lab.Quantile(took, 0.99), lab.Quantile(took, 0.999)
	return s, err
}

// h2Durations reads the third column of h2load's file.
func h2Durations(file string) ([]float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var took []float64
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if c := strings.Fields(lines.Text()); len(c) == 3 {
			d, err := strconv.ParseFloat(c[2], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			took = append(took, d)
		}
	}
	return took, lines.Err()
}

func (g *generator) handshakes(ctx context.Context, o handshakeOrder) (sample, error) {
	order, err := json.Marshal(o)
	if err != nil {
		return sample{}, err
	}
	out, err := g.run(ctx, "/proc/self/exe", "handshakes", string(order))
	if err != nil {
		return sample{}, err
	}
	var s sample
	return s, json.Unmarshal([]byte(out), &s)
}

// run runs a command that makes load, and returns what it says.
func (g *generator) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*g.slice+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := onCPU(loadCPU, cmd.Start); err != nil {
		return "", fmt.Errorf("start %s: %w", args[0], err)
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", args[0], errors.Join(err, ctx.Err()), strings.TrimSpace(said.String()+out.String()))
	}
	if said.Len() > 0 {
		lab.Progress("%s: %s", filepath.Base(args[0]), strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}
