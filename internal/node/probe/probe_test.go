package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	testclock "k8s.io/utils/clock/testing"
	utilexec "k8s.io/utils/exec"
)

type fakeExec struct {
	mu    sync.Mutex
	err   error
	calls int
	// deadline tells whether the last call had one.
	deadline bool
}

func (f *fakeExec) ExecSync(ctx context.Context, _ string, _ []string, _ time.Duration) ([]byte, []byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	_, f.deadline = ctx.Deadline()
	return []byte("out"), nil, f.err
}

func (f *fakeExec) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeExec) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

var errExit = utilexec.CodeExitError{Err: errors.New("exit 1"), Code: 1}

type bench struct {
	*Manager
	exec    *fakeExec
	clock   *testclock.FakeClock
	events  *record.FakeRecorder
	changes chan types.UID
}

func newBench(t *testing.T) *bench {
	b := &bench{exec: &fakeExec{}, clock: testclock.NewFakeClock(time.Unix(1000, 0)), events: record.NewFakeRecorder(1000), changes: make(chan types.UID, 100)}
	var d net.Dialer
	b.Manager = New(Config{
		Exec: b.exec, Dial: d.DialContext, Clock: b.clock, Events: b.events, Logger: slog.New(slog.DiscardHandler),
		Changed: func(uid types.UID) { b.changes <- uid },
	})
	t.Cleanup(b.Close)
	return b
}

func (b *bench) target(c *v1.Container) Target {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u"}, Spec: v1.PodSpec{Containers: []v1.Container{*c}}}
	return Target{Pod: pod, Container: c, ContainerID: "id", StartedAt: b.clock.Now(), PodIP: "127.0.0.1"}
}

func command(change func(*v1.Probe)) *v1.Probe {
	p := &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"true"}}}, PeriodSeconds: 10, FailureThreshold: 3, SuccessThreshold: 1, TimeoutSeconds: 1}
	if change != nil {
		change(p)
	}
	return p
}

// stepUntil moves the clock until ok, and returns how far.
func (b *bench) stepUntil(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	for passed := time.Duration(0); passed < 5*time.Minute; passed += 50 * time.Millisecond {
		for settle := time.Now().Add(2 * time.Millisecond); time.Now().Before(settle); time.Sleep(200 * time.Microsecond) {
			if ok() {
				return passed
			}
		}
		b.clock.Step(50 * time.Millisecond)
	}
	t.Fatalf("not within five minutes: %s", what)
	return 0
}

func TestReadiness(t *testing.T) {
	b := newBench(t)
	b.exec.set(errExit)
	b.Ensure(t.Context(), b.target(&v1.Container{Name: "c", ReadinessProbe: command(nil)}))
	if h := b.Health("id"); h.Ready || !h.Started || h.Dead {
		t.Fatalf("health before any answer = %+v", h)
	}
	b.stepUntil(t, "several attempts are made before the period is over", func() bool { return b.exec.count() >= 4 })
	if passed := b.clock.Now().Sub(time.Unix(1000, 0)); passed > 5*time.Second {
		t.Errorf("four attempts took %v", passed)
	}
	b.exec.set(nil)
	b.stepUntil(t, "it gets ready", func() bool { return b.Health("id").Ready })
	<-b.changes
	b.exec.set(errExit)
	before := b.exec.count()
	passed := b.stepUntil(t, "it is no longer ready", func() bool { return !b.Health("id").Ready })
	if n := b.exec.count() - before; n != 3 || passed < 20*time.Second {
		t.Errorf("%d attempts in %v made it unready, want 3 in the regular periods", n, passed)
	}
	b.Keep("u", nil)
	if h := b.Health("id"); !h.Ready {
		t.Error("a container without probes is not ready")
	}
}

func TestInitialDelay(t *testing.T) {
	b := newBench(t)
	b.Ensure(t.Context(), b.target(&v1.Container{Name: "c", ReadinessProbe: command(func(p *v1.Probe) { p.InitialDelaySeconds = 30 })}))
	if passed := b.stepUntil(t, "it gets ready", func() bool { return b.Health("id").Ready }); passed < 30*time.Second {
		t.Errorf("ready after %v, before its initial delay", passed)
	}
}

// TestInitialDelayOfAStartInTheFuture has the clock set back by a day after the container has started.
func TestInitialDelayOfAStartInTheFuture(t *testing.T) {
	b := newBench(t)
	target := b.target(&v1.Container{Name: "c", ReadinessProbe: command(func(p *v1.Probe) { p.InitialDelaySeconds = 30 })})
	target.StartedAt = b.clock.Now().Add(24 * time.Hour)
	b.Ensure(t.Context(), target)
	if passed := b.stepUntil(t, "it gets ready", func() bool { return b.Health("id").Ready }); passed < 30*time.Second || passed > 40*time.Second {
		t.Errorf("ready after %v, want the initial delay", passed)
	}
}

func TestLiveness(t *testing.T) {
	b := newBench(t)
	b.exec.set(errExit)
	b.Ensure(t.Context(), b.target(&v1.Container{Name: "c", LivenessProbe: command(nil)}))
	passed := b.stepUntil(t, "it is dead", func() bool { return b.Health("id").Dead })
	if b.exec.count() != 3 || passed < 20*time.Second || passed > 21*time.Second {
		t.Errorf("dead after %d attempts in %v, want 3 in 20 s", b.exec.count(), passed)
	}
	if e := <-b.events.Events; e != "Warning Unhealthy Liveness probe failed: out" {
		t.Errorf("event = %q", e)
	}
}

// A runtime that is down says nothing of a container: what was said before counts
// until it answers.
func TestProbesThatCannotBeMade(t *testing.T) {
	b := newBench(t)
	b.Ensure(t.Context(), b.target(&v1.Container{Name: "c", LivenessProbe: command(nil), ReadinessProbe: command(nil)}))
	b.stepUntil(t, "it is ready", func() bool { return b.Health("id").Ready })
	b.exec.set(errors.New("container runtime is down"))
	before := b.exec.count()
	b.stepUntil(t, "many attempts", func() bool { return b.exec.count() >= before+8 })
	if h := b.Health("id"); !h.Ready || h.Dead {
		t.Errorf("health while the runtime is down = %+v", h)
	}
	if e := <-b.events.Events; !strings.HasSuffix(e, " probe errored and resulted in unknown state: container runtime is down") {
		t.Errorf("event = %q", e)
	}
	b.exec.set(errExit)
	b.stepUntil(t, "it is dead", func() bool { return b.Health("id").Dead })
}

// Only the runtime knows how long a command has taken.
func TestRuntimeKeepsTheTime(t *testing.T) {
	b := newBench(t)
	target := b.target(&v1.Container{Name: "c"})
	b.attempt(t.Context(), &target, command(nil))
	if b.exec.deadline {
		t.Error("a command is given up when its time is over, whether or not the runtime answers")
	}
}

func TestStartupComesFirst(t *testing.T) {
	b := newBench(t)
	b.exec.set(errExit)
	c := &v1.Container{Name: "c", StartupProbe: command(func(p *v1.Probe) { p.FailureThreshold = 30 }), LivenessProbe: command(nil)}
	b.Ensure(t.Context(), b.target(c))
	b.stepUntil(t, "some attempts", func() bool { return b.exec.count() > 5 })
	if h := b.Health("id"); h.Started || h.Dead || h.Ready {
		t.Errorf("health = %+v", h)
	}
	b.exec.set(nil)
	b.stepUntil(t, "it has started", func() bool { return b.Health("id").Started })

	b = newBench(t)
	b.exec.set(errExit)
	c.StartupProbe.FailureThreshold = 2
	b.Ensure(t.Context(), b.target(c))
	b.stepUntil(t, "it has not started", func() bool { h := b.Health("id"); return h.Dead && h.StartupFailed })
}

func TestAdoptedContainerStaysReady(t *testing.T) {
	b := newBench(t)
	b.exec.set(errExit)
	target := b.target(&v1.Container{Name: "c", ReadinessProbe: command(nil)})
	target.WasReady, target.WasStarted = true, true
	b.Ensure(t.Context(), target)
	b.stepUntil(t, "an attempt", func() bool { return b.exec.count() > 0 })
	if !b.Health("id").Ready {
		t.Error("one failure made it unready")
	}
}

func TestTerminatingKeepsReadiness(t *testing.T) {
	b := newBench(t)
	b.Ensure(t.Context(), b.target(&v1.Container{Name: "c", ReadinessProbe: command(nil), LivenessProbe: command(nil)}))
	b.stepUntil(t, "it is ready", func() bool { return b.Health("id").Ready })
	b.Terminating("u")
	b.exec.set(errExit)
	b.stepUntil(t, "it is no longer ready", func() bool { return !b.Health("id").Ready })
	if b.Health("id").Dead {
		t.Error("a liveness probe ran on")
	}
}

func TestHandlers(t *testing.T) {
	b := newBench(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, r.Header.Get("X-Test"), r.Host)
		case "/away":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
		default:
			http.Error(w, "no", http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	u, _ := url.Parse(web.URL)
	port, _ := strconv.Atoi(u.Port())
	grpcPort := serveGRPC(t)
	closed := freePort(t)
	httpGet := func(path string) *v1.HTTPGetAction {
		return &v1.HTTPGetAction{Path: path, Port: intstr.FromString("web"), HTTPHeaders: []v1.HTTPHeader{{Name: "X-Test", Value: "x"}}}
	}
	c := &v1.Container{Name: "c", Ports: []v1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}
	service, other := "good", "unknown"
	for _, tc := range []struct {
		name    string
		handler v1.ProbeHandler
		want    outcome
		output  string
	}{
		{"http", v1.ProbeHandler{HTTPGet: httpGet("/ok")}, success, "x"},
		{"http failure", v1.ProbeHandler{HTTPGet: httpGet("/bad")}, failure, "HTTP probe failed with statuscode: 503"},
		{"http away", v1.ProbeHandler{HTTPGet: httpGet("/away")}, warning, "Probe terminated redirects"},
		{"http refused", v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromInt32(closed)}}, failure, "connection refused"},
		{"http no such port", v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromString("absent")}}, unknown, "absent"},
		{"tcp no such port", v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromString("absent")}}, unknown, "absent"},
		{"tcp", v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromString("web")}}, success, ""},
		{"tcp refused", v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(closed)}}, failure, "connection refused"},
		{"grpc", v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: grpcPort, Service: &service}}, success, ""},
		{"grpc not serving", v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: grpcPort}}, failure, "NOT_SERVING"},
		{"grpc unknown", v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: grpcPort, Service: &other}}, failure, "health rpc probe failed"},
		{"nothing", v1.ProbeHandler{}, unknown, "missing probe handler"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := b.target(c)
			got, output := b.attempt(t.Context(), &target, &v1.Probe{ProbeHandler: tc.handler, TimeoutSeconds: 2})
			if got != tc.want || !strings.Contains(output, tc.output) {
				t.Errorf("outcome = %d %q, want %d %q", got, output, tc.want, tc.output)
			}
		})
	}
}

func TestExecOutcomes(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		err    error
		want   outcome
		output string
	}{
		{nil, success, "out"},
		{fmt.Errorf("exec: %w", errExit), failure, "out"},
		{fmt.Errorf("exec: %w", context.DeadlineExceeded), failure, "timed out after 1s"},
		{errors.New("no such container"), unknown, "no such container"},
	} {
		b.exec.set(c.err)
		target := b.target(&v1.Container{Name: "c"})
		got, output := b.attempt(t.Context(), &target, command(nil))
		if got != c.want || !strings.Contains(output, c.output) {
			t.Errorf("%v: outcome = %d %q", c.err, got, output)
		}
	}
}

func serveGRPC(t *testing.T) int32 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	h := health.NewServer()
	h.SetServingStatus("good", grpc_health_v1.HealthCheckResponse_SERVING)
	h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(s, h)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return int32(l.Addr().(*net.TCPAddr).Port)
}

func freePort(t *testing.T) int32 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return int32(l.Addr().(*net.TCPAddr).Port)
}

func TestAttemptsAreCounted(t *testing.T) {
	b := newBench(t)
	counts := b.cfg.Metrics
	c := &v1.Container{Name: "c", LivenessProbe: command(nil)}
	b.Ensure(t.Context(), b.target(c))
	count := func(result string) float64 {
		return testutil.ToFloat64(counts.results.WithLabelValues("Liveness", result, "c", "p", "default", "u"))
	}
	b.stepUntil(t, "two attempts succeed", func() bool { return count("successful") >= 2 })
	b.exec.set(errExit)
	b.stepUntil(t, "an attempt fails", func() bool { return count("failed") >= 1 })
	if n := testutil.CollectAndCount(counts, "prober_probe_duration_seconds"); n != 1 {
		t.Errorf("%d series of durations", n)
	}
	b.Remove("u")
	if n := testutil.CollectAndCount(counts); n != 0 {
		t.Errorf("%d series of a Pod that is gone", n)
	}
}
