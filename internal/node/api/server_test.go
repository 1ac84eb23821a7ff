package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	streams "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/clock"
	utilexec "k8s.io/utils/exec"

	"minato/internal/node/fakecri"
	"minato/internal/node/spec"
)

// bench is a server over TLS with one Pod that runs.
type bench struct {
	t       *testing.T
	url     string
	runtime *fakecri.Runtime
	streams *fakeStreams
	pods    *fakePods
	client  *fake.Clientset
	pod     *v1.Pod
	log     string
	server  *Server
}

// Tokens are "admin", who may do everything, and "viewer", who may read
// metrics.
func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, runtime: fakecri.New(clock.RealClock{}), streams: &fakeStreams{}, client: fake.NewClientset()}
	b.client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authnv1.TokenReview)
		if r.Spec.Token == "admin" || r.Spec.Token == "viewer" {
			r.Status = authnv1.TokenReviewStatus{Authenticated: true, User: authnv1.UserInfo{Username: r.Spec.Token, Groups: []string{"g"}}}
		}
		return true, r, nil
	})
	b.client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authzv1.SubjectAccessReview)
		attrs := r.Spec.ResourceAttributes
		r.Status.Allowed = attrs.Resource == "nodes" && attrs.Name == "node-1" &&
			(r.Spec.User == "admin" || (attrs.Subresource == "metrics" && attrs.Verb == "get"))
		return true, r, nil
	})
	dir := t.TempDir()
	b.pod = &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "main"}, {Name: "late"}}},
		Status: v1.PodStatus{Phase: v1.PodRunning, ContainerStatuses: []v1.ContainerStatus{
			{Name: "main"}, {Name: "late", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}},
		}},
	}
	b.pods = &fakePods{b.pod}
	b.log = filepath.Join(dir, spec.LogDir(b.pod), "main", "0.log")
	if err := os.MkdirAll(filepath.Dir(b.log), 0o755); err != nil {
		t.Fatal(err)
	}
	b.append("2026-01-02T03:04:01Z stdout F one\n2026-01-02T03:04:02Z stderr F two\n")
	b.startContainer(0)
	cfg := Config{
		NodeName: "node-1", Client: b.client, Runtime: b.runtime, Streaming: b.streams, Pods: b.pods, LogDir: dir, LogRoot: dir,
		Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&cfg)
	}
	s := New(cfg)
	b.server = s
	server := httptest.NewTLSServer(s.Handler())
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *bench) startContainer(attempt uint32) {
	config := sandboxConfig(filepath.Dir(filepath.Dir(b.log)))
	sandbox, err := b.runtime.RunPodSandbox(b.t.Context(), config, "")
	if err != nil {
		b.t.Fatal(err)
	}
	id, err := b.runtime.CreateContainer(b.t.Context(), sandbox, containerConfig(attempt), config)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.runtime.StartContainer(b.t.Context(), id); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) append(text string) {
	f, err := os.OpenFile(b.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		b.t.Fatal(err)
	}
}

// writeLog makes the log file of a run of the container main.
func (b *bench) writeLog(attempt uint32, text string) {
	path := filepath.Join(filepath.Dir(filepath.Dir(b.log)), spec.LogPath("main", attempt))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) http() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

func (b *bench) request(method, path, token string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := b.http().Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

type fakePods struct{ pod *v1.Pod }

func (f *fakePods) Pod(namespace, name string) (*v1.Pod, bool) {
	return f.pod, f.pod.Namespace == namespace && f.pod.Name == name
}
func (f *fakePods) Pods() []*v1.Pod { return []*v1.Pod{f.pod} }

// fakeStreams echoes input, says "error" on the error stream, and ends as told
// by the command.
type fakeStreams struct {
	mu       sync.Mutex
	attached string
}

func (f *fakeStreams) Exec(_ context.Context, id string, cmd []string, in io.Reader, out, errw io.WriteCloser, _ bool, _ <-chan streams.TerminalSize) error {
	if in != nil {
		io.Copy(out, in)
	}
	fmt.Fprintf(out, "%s in %s", strings.Join(cmd, " "), id)
	if errw != nil {
		fmt.Fprint(errw, "error")
	}
	if cmd[0] == "false" {
		return fmt.Errorf("exec: %w", utilexec.CodeExitError{Err: errors.New("exit 7"), Code: 7})
	}
	return nil
}

func (f *fakeStreams) Attach(ctx context.Context, _ string, in io.Reader, _, _ io.WriteCloser, _ bool, _ <-chan streams.TerminalSize) error {
	b, err := io.ReadAll(in)
	f.mu.Lock()
	f.attached = string(b)
	f.mu.Unlock()
	<-ctx.Done()
	return err
}

func (f *fakeStreams) PortForward(_ context.Context, id string, port int32, s io.ReadWriteCloser) error {
	defer s.Close()
	_, err := fmt.Fprintf(s, "port %d of %s", port, id)
	return err
}

func TestWhoMayAskWhat(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/pods", "", http.StatusUnauthorized},
		{"GET", "/pods", "stranger", http.StatusUnauthorized},
		{"GET", "/pods", "viewer", http.StatusForbidden},
		{"GET", "/pods", "admin", http.StatusOK},
		{"GET", "/healthz", "", http.StatusUnauthorized},
		{"GET", "/healthz", "admin", http.StatusOK},
		{"GET", "/metrics", "viewer", http.StatusOK},
		{"GET", "/metrics/resource", "viewer", http.StatusOK},
		{"GET", "/stats/summary", "viewer", http.StatusForbidden},
		{"GET", "/stats/summary", "admin", http.StatusOK},
		{"GET", "/containerLogs/default/web/main", "viewer", http.StatusForbidden},
		{"POST", "/exec/default/web/main?command=id&output=1", "viewer", http.StatusForbidden},
		{"GET", "/exec/default/web/main?command=id&output=1", "viewer", http.StatusForbidden},
		{"POST", "/run/default/web/main?cmd=id", "viewer", http.StatusForbidden},
		{"POST", "/portForward/default/web", "viewer", http.StatusForbidden},
		{"POST", "/attach/default/web/main", "", http.StatusUnauthorized},
		{"GET", "/anything", "admin", http.StatusNotFound},
	} {
		if got, body := b.request(c.method, c.path, c.token); got != c.want {
			t.Errorf("%s %s by %q: %d %q, want %d", c.method, c.path, c.token, got, body, c.want)
		}
	}
	if n := len(b.client.Actions()); n > 30 {
		t.Errorf("%d reviews: answers are not kept", n)
	}
}

func TestAuthorizationFailsClosed(t *testing.T) {
	b := newBench(t)
	b.client.PrependReactor("create", "subjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no API server")
	})
	if got, _ := b.request("GET", "/pods", "admin"); got != http.StatusInternalServerError {
		t.Errorf("status = %d", got)
	}
	b.client.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no API server")
	})
	if got, _ := b.request("GET", "/pods", "viewer"); got != http.StatusUnauthorized {
		t.Errorf("status = %d", got)
	}
}

func TestPods(t *testing.T) {
	b := newBench(t)
	if _, body := b.request("GET", "/pods", "admin"); !strings.Contains(body, `"kind":"PodList"`) || !strings.Contains(body, `"name":"web"`) {
		t.Errorf("pods = %s", body)
	}
}

func TestResourceMetrics(t *testing.T) {
	b := newBench(t)
	_, body := b.request("GET", "/metrics/resource", "viewer")
	for _, want := range []string{
		`container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 2 0`,
		`pod_memory_working_set_bytes{namespace="default",pod="web"} 4096 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if _, body := b.request("GET", "/stats/summary", "admin"); !strings.Contains(body, `"workingSetBytes":4096`) {
		t.Errorf("summary = %s", body)
	}
}

func TestLogs(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		query  string
		status int
		want   string
	}{
		{"main", 200, "one\ntwo\n"},
		{"main?tailLines=1", 200, "two\n"},
		{"main?limitBytes=2", 200, "on"},
		{"main?stream=Stdout", 200, "one\n"},
		{"main?stream=Stderr&timestamps=true", 200, "2026-01-02T03:04:02.000000000Z two\n"},
		{"main?sinceTime=2026-01-02T03:04:02Z", 200, "two\n"},
		{"main?tailLines=-1", 400, ""},
		{"main?sinceSeconds=x", 400, ""},
		{"main?sinceTime=yesterday", 400, ""},
		{"main?previous=true", 400, `previous terminated container "main" in pod "web" not found` + "\n"},
		{"late", 400, `container "late" in pod "web" is waiting to start: trying and failing to pull image` + "\n"},
		{"absent", 404, ""},
	} {
		got, body := b.request("GET", "/containerLogs/default/web/"+c.query, "admin")
		if got != c.status || (c.want != "" && body != c.want) {
			t.Errorf("%s: %d %q, want %d %q", c.query, got, body, c.status, c.want)
		}
	}
	if got, _ := b.request("GET", "/containerLogs/default/absent/main", "admin"); got != http.StatusNotFound {
		t.Errorf("logs of an absent pod: %d", got)
	}
	b.runtime.Exit("main", 1)
	b.startContainer(1)
	if got, body := b.request("GET", "/containerLogs/default/web/main?previous=true", "admin"); got != 200 || body != "one\ntwo\n" {
		t.Errorf("previous: %d %q", got, body)
	}
}

func TestFollowedLogsEndWithTheContainer(t *testing.T) {
	b := newBench(t)
	done := make(chan string, 1)
	go func() {
		_, body := b.request("GET", "/containerLogs/default/web/main?follow=true", "admin")
		done <- body
	}()
	b.append("2026-01-02T03:04:03Z stdout F three\n")
	b.runtime.Exit("main", 0)
	select {
	case body := <-done:
		if body != "one\ntwo\nthree\n" {
			t.Errorf("followed %q", body)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("following did not end")
	}
}

func (b *bench) executors(path string) map[string]remotecommand.Executor {
	b.t.Helper()
	config := &rest.Config{Host: b.url, BearerToken: "admin", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	u, err := url.Parse(b.url + path)
	if err != nil {
		b.t.Fatal(err)
	}
	overSPDY, err := remotecommand.NewSPDYExecutor(config, "POST", u)
	if err != nil {
		b.t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"SPDY": overSPDY}
}

func TestExec(t *testing.T) {
	b := newBench(t)
	for name, e := range b.executors("/exec/default/web/main?command=echo&command=hi&input=1&output=1&error=1") {
		var out, errOut bytes.Buffer
		err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("in:"), Stdout: &out, Stderr: &errOut})
		if err != nil || !strings.HasPrefix(out.String(), "in:echo hi in c") || errOut.String() != "error" {
			t.Errorf("%s: %q, %q, %v", name, out.String(), errOut.String(), err)
		}
	}
	for name, e := range b.executors("/exec/default/web/u/main?command=false&output=1") {
		var out bytes.Buffer
		err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out})
		var exit utilexec.ExitError
		if !errors.As(err, &exit) || exit.ExitStatus() != 7 {
			t.Errorf("%s: a failing command gave %v, want exit code 7", name, err)
		}
	}
	for _, path := range []string{"/exec/default/absent/main?output=1", "/exec/default/web/other-uid/main?output=1", "/exec/default/web/late?output=1"} {
		if got, _ := b.request("POST", path, "admin"); got != http.StatusNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
}

func TestAttachShowsWhatWasPrintedBefore(t *testing.T) {
	b := newBench(t)
	for name, e := range b.executors("/attach/default/web/main?input=1&output=1&error=1") {
		var out, errOut bytes.Buffer
		done := make(chan error, 1)
		go func() {
			done <- e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("typed"), Stdout: &out, Stderr: &errOut})
		}()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			b.streams.mu.Lock()
			got := b.streams.attached
			b.streams.mu.Unlock()
			if got == "typed" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: input did not arrive: %q", name, got)
			}
		}
		b.append("2026-01-02T03:04:03Z stdout F three\n")
		b.runtime.Exit("main", 0)
		if err := <-done; err != nil || out.String() != "one\nthree\n" || errOut.String() != "two\n" {
			t.Errorf("%s: %q, %q, %v", name, out.String(), errOut.String(), err)
		}
	}
}

func TestAttachGoesOnWhereLogsEnded(t *testing.T) {
	b := newBench(t)
	if _, body := b.request("GET", "/containerLogs/default/web/main", "admin"); body != "one\ntwo\n" {
		t.Fatalf("logs = %q", body)
	}
	b.append("2026-01-02T03:04:03Z stdout F three\n")
	b.runtime.Exit("main", 0)
	for i, want := range []string{"three\n", "one\nthree\n"} { // the second client read no logs
		for name, e := range b.executors("/attach/default/web/main?output=1") {
			var out bytes.Buffer
			if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out}); err != nil || out.String() != want {
				t.Errorf("%s, client %d: %q, %v; want %q", name, i, out.String(), err, want)
			}
		}
	}
	if got, _ := b.request("POST", "/attach/default/web/late?output=1", "admin"); got != http.StatusNotFound {
		t.Errorf("attaching to a container that never ran: %d", got)
	}
}

func TestPortForward(t *testing.T) {
	b := newBench(t)
	config := &rest.Config{Host: b.url, BearerToken: "admin", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(b.url + "/portForward/default/web")
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u)
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	headers := http.Header{}
	headers.Set(v1.StreamType, v1.StreamTypeError)
	headers.Set(v1.PortHeader, "8080")
	headers.Set(v1.PortForwardRequestIDHeader, "0")
	if _, err := conn.CreateStream(headers); err != nil {
		t.Fatal(err)
	}
	headers.Set(v1.StreamType, v1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(data)
	if err != nil || !strings.HasPrefix(string(got), "port 8080 of sb") {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestRun(t *testing.T) {
	b := newBench(t)
	b.runtime.OnExec(func(_ string, cmd []string) (string, error) { return "ran " + cmd[0], nil })
	if got, body := b.request("POST", "/run/default/web/main?cmd=id", "admin"); got != 200 || body != "ran id" {
		t.Errorf("%d %q", got, body)
	}
}
