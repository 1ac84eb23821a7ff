package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"minato/internal/host"
	"minato/test/images/demo/load"
)

// loads are what `load start` of a script began.
type loads struct {
	running []*runningLoad
}

type runningLoad struct {
	stop     context.CancelFunc
	done     chan struct{}
	report   load.Report
	failures lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const loadsKey = "loads"

// churnSeconds is how long churn.txtar goes on, from MINATO_CHURN. It is short
// unless asked for, as it is one test of many.
func churnSeconds() (string, error) {
	text := os.Getenv("MINATO_CHURN")
	if text == "" {
		text = "20s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 10*time.Second || d > 10*time.Minute {
		return "", fmt.Errorf("MINATO_CHURN is %q; set it to a duration from 10s to 10m", text)
	}
	return strconv.Itoa(int(d / time.Second)), nil
}

// load start NETNS RATE KIND=HOST:PORT...: sends RATE requests a second from
// there, of one client for each target, until the script says stop or ends.
// NETNS "-" is the machine's own namespace.
//
// load stop: ends all of them and writes how many requests there were to
// standard output. It fails if a request failed, and names each that did.
func loadCommand(ts *testscript.TestScript, neg bool, args []string) {
	all := ts.Value(loadsKey).(*loads)
	switch {
	case !neg && len(args) > 3 && args[0] == "start":
		all.start(ts, args[1], args[2], args[3:])
	case !neg && len(args) == 1 && args[0] == "stop":
		all.stop(ts)
	default:
		ts.Fatalf("usage: load start NETNS RATE KIND=HOST:PORT... | load stop")
	}
}

func (l *loads) start(ts *testscript.TestScript, from, rate string, targets []string) {
	r := &runningLoad{done: make(chan struct{})}
	cfg := load.Config{Name: "machine", Failures: &r.failures}
	if from != "-" {
		ns := host.NamedNetns(from)
		cfg.Name = from
		cfg.Network = load.Network{Dial: ns.DialContext, ListenPacket: ns.ListenPacket}
	}
	var err error
	cfg.Rate, err = strconv.ParseFloat(rate, 64)
	ts.Check(err)
	for _, text := range targets {
		t, err := load.ParseTarget(text)
		ts.Check(err)
		cfg.Targets = append(cfg.Targets, t)
	}
	g, err := load.New(cfg)
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	l.running = append(l.running, r)
	ts.Defer(stop)
	go func() {
		defer close(r.done)
		r.report = g.Run(ctx)
	}()
}

func (l *loads) stop(ts *testscript.TestScript) {
	failed := 0
	for _, r := range l.running {
		r.stop()
		<-r.done
		if text := r.failures.String(); text != "" {
			ts.Logf("%s", text)
		}
		ts.Stdout().Write([]byte(r.report.String()))
		failed += r.report.Failed()
	}
	l.running = nil
	if failed > 0 {
		ts.Fatalf("%d requests failed", failed)
	}
}
