package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mix is a kind of questions.
type mix struct {
	name      string
	questions []string // "NAME TYPE"
}

// askedNames bounds a question file; dnsperf begins again at its end.
const askedNames = 20000

func mixes(services int) []mix {
	pick := rand.New(rand.NewPCG(1, 2)) // the same for every server
	make := func(name string, question func() string) mix {
		m := mix{name: name}
		for range askedNames {
			m.questions = append(m.questions, question())
		}
		return m
	}
	suffixes := []string{".ns-3.svc.cluster.local", ".svc.cluster.local", ".cluster.local"}
	return []mix{
		make("cluster names", func() string { return serviceName(pick.IntN(services)) + ".svc.cluster.local A" }),
		make("search-path misses", func() string {
			return fmt.Sprintf("www%d.example.com%s A", pick.IntN(1000), suffixes[pick.IntN(len(suffixes))])
		}),
		make("reverse", func() string {
			return strings.TrimSuffix(reverseName(netip.MustParseAddr(clusterIP(pick.IntN(services)))), ".") + " PTR"
		}),
		make("external names", func() string { return fmt.Sprintf("www%d.example.com A", pick.IntN(1000)) }),
	}
}

// perf lets dnsperf ask, first as fast as it goes and then at a fixed rate.
func perf(ctx context.Context, o options, p *process, dir string, m mix, warmUp bool) (run, error) {
	file := filepath.Join(dir, "questions")
	if err := os.WriteFile(file, []byte(strings.Join(m.questions, "\n")+"\n"), 0o600); err != nil {
		return run{}, err
	}
	ask := func(length time.Duration, more ...string) ([]byte, error) {
		return dnsperf(ctx, append([]string{"-s", "127.0.0.1", "-p", strconv.Itoa(p.port), "-d", file, "-c", "16", "-t", "2",
			"-l", strconv.Itoa(int(length.Seconds()))}, more...))
	}
	if warmUp { // caches fill
		if _, err := ask(time.Second); err != nil {
			return run{}, err
		}
	}
	began := p.cpu()
	out, err := ask(o.length)
	used := p.cpu() - began
	if err != nil {
		return run{}, err
	}
	r := run{qps: number(out, `Queries per second:\s+([\d.]+)`), lost: int(number(out, `Queries lost:\s+(\d+)`))}
	if r.qps == 0 {
		return run{}, fmt.Errorf("dnsperf says no rate:\n%s", out)
	}
	r.cpuMicros = float64(used.Microseconds()) / number(out, `Queries completed:\s+(\d+)`)
	if out, err = ask(o.length, "-Q", strconv.Itoa(o.rate), "-v"); err != nil {
		return run{}, err
	}
	r.p50, r.p99 = latencies(out)
	return r, nil
}

func dnsperf(ctx context.Context, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "dnsperf", args...)
	onProcessors(cmd, runtime.NumCPU()/2, runtime.NumCPU())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("dnsperf: %w: %s", err, errs.Bytes())
	}
	return out, nil
}

func number(out []byte, pattern string) float64 {
	found := regexp.MustCompile(pattern).FindSubmatch(out)
	if found == nil {
		return 0
	}
	v, _ := strconv.ParseFloat(string(found[1]), 64)
	return v
}

// latencies reads the lines "> RCODE NAME TYPE SECONDS", in milliseconds.
func latencies(out []byte) (p50, p99 float64) {
	var all []float64
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) != 5 || f[0] != ">" {
			continue
		}
		if v, err := strconv.ParseFloat(f[4], 64); err == nil {
			all = append(all, v*1000)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}
