package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	authzv1 "k8s.io/api/authorization/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// kubeletPaths are all paths that a kubelet of version 1.36 has
// (pkg/kubelet/server/server.go), what an administrator gets here, and which
// subresources of the node are asked for, in order, until one is allowed.
func kubeletPaths() []kubeletPath {
	const c = "/default/web/main"
	return []kubeletPath{
		{"GET", "/healthz", 200, "get healthz,get proxy", ""},
		{"GET", "/healthz/ping", 200, "get healthz,get proxy", ""},
		{"GET", "/healthz/syncloop", 200, "get healthz,get proxy", ""},
		{"GET", "/healthz/log", 404, "get healthz,get proxy", "it asks whether klog writes its buffers out, and the agent has none"},
		{"GET", "/pods", 200, "get pods,get proxy", ""},
		{"GET", "/runningpods/", 200, "get pods,get proxy", ""},
		{"GET", "/configz", 200, "get configz,get proxy", ""},
		{"GET", "/flagz", 404, "", "the agent has no flags; its configuration is at /configz"},
		{"GET", "/statusz", 200, "get statusz", ""},
		{"GET", "/logs/", 200, "get log", ""},
		{"GET", "/logs/default_web_u/main/0.log", 200, "get log", ""},
		{"GET", "/metrics", 200, "get metrics", ""},
		{"GET", "/metrics/resource", 200, "get metrics", ""},
		{"GET", "/metrics/cadvisor", 200, "get metrics", ""},
		{"GET", "/metrics/probes", 200, "get metrics", ""},
		{"GET", "/metrics/slis", 200, "get metrics", ""},
		{"GET", "/stats/summary", 200, "get stats", ""},
		{"GET", "/containerLogs" + c, 200, "get proxy", ""},
		// A request that asks for no stream is a bad request, to those who may ask.
		{"GET", "/exec" + c, 400, "create proxy", ""},
		{"POST", "/exec" + c, 400, "create proxy", ""},
		{"GET", "/exec/default/web/u/main", 400, "create proxy", ""},
		{"POST", "/exec/default/web/u/main", 400, "create proxy", ""},
		{"GET", "/attach" + c, 400, "create proxy", ""},
		{"POST", "/attach" + c, 400, "create proxy", ""},
		{"GET", "/attach/default/web/u/main", 400, "create proxy", ""},
		{"POST", "/attach/default/web/u/main", 400, "create proxy", ""},
		{"GET", "/portForward/default/web", 400, "create proxy", ""},
		{"POST", "/portForward/default/web", 400, "create proxy", ""},
		{"GET", "/portForward/default/web/u", 400, "create proxy", ""},
		{"POST", "/portForward/default/web/u", 400, "create proxy", ""},
		{"POST", "/run" + c, 200, "create proxy", ""},
		{"POST", "/run/default/web/u/main", 200, "create proxy", ""},
		{"POST", "/checkpoint" + c, 404, "create checkpoint", "the container runtime cannot checkpoint"},
		{"GET", "/debug/pprof/heap", 405, "get proxy", "the process holds the whole cluster; disabled as by enableProfilingHandler: false"},
		{"PUT", "/debug/flags/v", 405, "update proxy", "the agent has no such flag; disabled as by enableDebugFlagsHandler: false"},
	}
}

type kubeletPath struct {
	method, path string
	status       int
	asked        string
	why          string // it is not there
}

func TestPathsOfTheKubelet(t *testing.T) {
	b := newBench(t)
	doc, err := os.ReadFile("../../../docs/kubelet-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range kubeletPaths() {
		// Errors of the requests themselves, such as "no stream", are the handlers'.
		if got, body := b.request(p.method, p.path, "admin"); got != p.status && !(p.status == 400 && got == 500) {
			t.Errorf("%s %s: %d %q, want %d", p.method, p.path, got, body, p.status)
		}
		root := "/" + strings.Split(p.path, "/")[1]
		if !strings.Contains(string(doc), "`"+root) || p.why != "" && !strings.Contains(string(doc), p.why) {
			t.Errorf("docs/kubelet-api.md does not say of %s: %s", p.path, p.why)
		}
	}
	if got, body := b.request("GET", "/statusz", "admin"); got != 200 || !strings.Contains(body, "kubelet statusz") {
		t.Errorf("statusz: %d %q", got, body)
	}
}

// TestSubresourcesThatAreAskedFor refuses everything and looks what was asked.
func TestSubresourcesThatAreAskedFor(t *testing.T) {
	b := newBench(t)
	var asked []string
	b.client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authzv1.SubjectAccessReview)
		asked = append(asked, r.Spec.ResourceAttributes.Verb+" "+r.Spec.ResourceAttributes.Subresource)
		return true, r, nil
	})
	for _, p := range kubeletPaths() {
		asked = nil
		clear(b.server.gate.allowed) // answers are kept
		want := http.StatusForbidden
		if p.asked == "" {
			want = http.StatusNotFound
		}
		if got, _ := b.request(p.method, p.path, "admin"); got != want || strings.Join(asked, ",") != p.asked {
			t.Errorf("%s %s: %d after %v, want %d after %s", p.method, p.path, got, asked, want, p.asked)
		}
		if got, _ := b.request(p.method, p.path, ""); got != http.StatusUnauthorized && p.asked != "" {
			t.Errorf("%s %s by nobody: %d", p.method, p.path, got)
		}
	}
}

func TestHealthz(t *testing.T) {
	var broken error
	b := newBench(t, func(c *Config) { c.Healthy = func() error { return broken } })
	for _, c := range []struct {
		path   string
		broken error
		status int
		want   string
	}{
		{"/healthz", nil, 200, "ok"},
		{"/healthz?verbose", nil, 200, "[+]ping ok\n[+]syncloop ok\nhealthz check passed\n"},
		{"/healthz/syncloop", nil, 200, "ok"},
		{"/healthz", fmt.Errorf("stuck"), 500, "[+]ping ok\n[-]syncloop failed: stuck\nhealthz check failed\n"},
		{"/healthz?exclude=syncloop", fmt.Errorf("stuck"), 200, "ok"},
		{"/healthz/syncloop", fmt.Errorf("stuck"), 500, "internal server error: stuck\n"},
		{"/healthz/ping", fmt.Errorf("stuck"), 200, "ok"},
	} {
		broken = c.broken
		if got, body := b.request("GET", c.path, "admin"); got != c.status || body != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.path, got, body, c.status, c.want)
		}
	}
}

func TestRunningPods(t *testing.T) {
	b := newBench(t)
	if _, body := b.request("GET", "/runningpods/", "admin"); !strings.Contains(body, `"name":"web"`) {
		t.Errorf("a Pod that runs is not listed: %s", body)
	}
	b.pod.Status.Phase = v1.PodSucceeded
	if _, body := b.request("GET", "/runningpods/", "admin"); strings.Contains(body, `"name":"web"`) {
		t.Errorf("a Pod that has ended is listed: %s", body)
	}
}

func TestNodeLogs(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root, "node.log"), "<html>a line</html>\n")
	write(filepath.Join(outside, "secret"), "secret")
	for link, target := range map[string]string{"file": filepath.Join(outside, "secret"), "dir": outside, "up": "../" + filepath.Base(outside), "inside": "node.log", "null": "/dev/null"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *Config) { c.LogRoot = root })
	for path, want := range map[string]string{
		"":         `<a href="node.log">node.log</a>`,
		"node.log": "<html>a line</html>\n",
		"inside":   "<html>a line</html>\n",
		"file":     "", "dir/": "", "dir/secret": "", "up/": "", "up/secret": "", "null": "", "absent": "",
		"pipe": "", // and the request ends
		"%2e%2e/" + filepath.Base(outside) + "/secret": "",
	} {
		got, body := b.request("GET", "/logs/"+path, "admin")
		if want == "" && got != http.StatusNotFound || want != "" && (got != 200 || !strings.Contains(body, want)) || strings.Contains(body, "secret") && path != "" {
			t.Errorf("/logs/%s: %d %q, want %q", path, got, body, want)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", b.url+"/logs/node.log", nil)
	req.Header.Set("Authorization", "Bearer admin")
	resp, err := b.http().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("a log that looks like a page has the type %s", got)
	}
	b = newBench(t, func(c *Config) { c.LogRoot = "" })
	if got, _ := b.request("GET", "/logs/", "admin"); got != http.StatusMethodNotAllowed {
		t.Errorf("/logs/ without a directory: %d", got)
	}
}

func TestConfigz(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Configuration = func() kubeletv1beta1.KubeletConfiguration {
			return kubeletv1beta1.KubeletConfiguration{ClusterDomain: "cluster.local", MaxPods: 110, NodeStatusReportFrequency: metav1.Duration{Duration: 5 * time.Minute}}
		}
	})
	_, body := b.request("GET", "/configz", "admin")
	var got struct {
		KubeletConfig map[string]any `json:"kubeletconfig"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	want := `{"apiVersion":"kubelet.config.k8s.io/v1beta1",` +
		`"authentication":{"anonymous":{"enabled":false},"webhook":{"cacheTTL":"2m0s","enabled":true}},` +
		`"authorization":{"mode":"Webhook","webhook":{"cacheAuthorizedTTL":"5m0s","cacheUnauthorizedTTL":"30s"}},` +
		`"clusterDomain":"cluster.local","enableDebugFlagsHandler":false,"enableDebuggingHandlers":true,"enableProfilingHandler":false,` +
		`"enableServer":true,"enableSystemLogHandler":true,"enableSystemLogQuery":false,"kind":"KubeletConfiguration",` +
		`"maxPods":110,"nodeStatusReportFrequency":"5m0s","streamingConnectionIdleTimeout":"4h0m0s","tlsMinVersion":"VersionTLS12"}`
	fields, err := json.Marshal(got.KubeletConfig)
	if err != nil || string(fields) != want {
		t.Errorf("configz = %s\nwant      %s", fields, want)
	}
	var typed struct {
		KubeletConfig kubeletv1beta1.KubeletConfiguration `json:"kubeletconfig"`
	}
	if err := json.Unmarshal([]byte(body), &typed); err != nil || typed.KubeletConfig.MaxPods != 110 {
		t.Errorf("a client that knows the type reads %+v, %v", typed, err)
	}
	if slices.Contains(strings.Split(body, `"`), "syncFrequency") {
		t.Error("a field that nothing acts on is told of")
	}
}
