package room

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
)

func ask(t *testing.T, g *Guard, who string, info request.RequestInfo) (int, metav1.Status) {
	t.Helper()
	passed := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	ctx := request.WithUser(request.WithRequestInfo(t.Context(), &info), &user.DefaultInfo{Name: who})
	w := httptest.NewRecorder()
	g.Handler(passed).ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil))
	var status metav1.Status
	if w.Code != http.StatusCreated {
		if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil {
			t.Fatal(err)
		}
	}
	return w.Code, status
}

func TestGuard(t *testing.T) {
	available, capacity, failed := int64(0), int64(1<<40), error(nil)
	g := &Guard{dir: "/var/lib/x", left: func(string) (int64, int64, error) { return available, capacity, failed }}
	on := func(verb, resource, subresource string) request.RequestInfo {
		return request.RequestInfo{IsResourceRequest: true, Verb: verb, Resource: resource, Subresource: subresource}
	}
	for _, c := range []struct {
		who  string
		info request.RequestInfo
		want bool
	}{
		{"admin", on("create", "pods", ""), false},
		{"system:serviceaccount:kube-system:job-controller", on("create", "pods", ""), false},
		{"admin", on("update", "configmaps", ""), false},
		{"admin", on("patch", "configmaps", ""), false},
		{"system:serviceaccount:kube-system:namespace-controller", on("update", "configmaps", ""), true},
		{"system:serviceaccount:default:operator", on("update", "configmaps", ""), false},
		{"system:serviceaccount:default:operator", on("patch", "configmaps", ""), false},
		{"system:serviceaccount:default:operator", on("patch", "pods", "status"), true},
		{"system:serviceaccount:kube-systems:operator", on("patch", "configmaps", ""), false},
		{"admin", on("delete", "pods", ""), true},
		{"admin", on("deletecollection", "pods", ""), true},
		{"admin", on("get", "pods", ""), true},
		{"admin", on("watch", "pods", ""), true},
		{"admin", on("create", "pods", "eviction"), true},
		{"admin", on("create", "pods", "exec"), true},
		{"system:node:node-1", on("patch", "pods", "status"), true},
		{"system:node:node-1", on("create", "events", ""), true},
		{"system:node:node-1", on("create", "subjectaccessreviews", ""), true},
		{"admin", on("patch", "nodes", ""), true},
		{"admin", request.RequestInfo{Verb: "create"}, true},
	} {
		code, _ := ask(t, g, c.who, c.info)
		if (code == http.StatusCreated) != c.want {
			t.Errorf("%s %s %s/%s: %d", c.who, c.info.Verb, c.info.Resource, c.info.Subresource, code)
		}
	}
	code, status := ask(t, g, "admin", on("create", "pods", ""))
	const want = "the disk that the cluster stores its objects on has 0 left, and takes no more objects until there are 128Mi: free space there (/var/lib/x) or delete objects"
	if code != 507 || status.Code != 507 || status.Reason != "InsufficientStorage" || status.Message != want {
		t.Errorf("%d, %+v", code, status)
	}
	for _, c := range []struct {
		available, capacity int64
		err                 error
		want                int
	}{
		{128 << 20, 1 << 40, nil, 201}, {128<<20 - 1, 1 << 40, nil, 507},
		{32 << 20, 256 << 20, nil, 201}, {32<<20 - 1, 256 << 20, nil, 507},
		{0, 0, errors.New("no disk"), 201},
	} {
		available, capacity, failed = c.available, c.capacity, c.err
		if code, _ := ask(t, g, "admin", on("create", "pods", "")); code != c.want {
			t.Errorf("%+v: %d", c, code)
		}
	}
}

func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reserve")
	r := NewReserve(ReserveConfig{Path: path, Logger: slog.New(slog.DiscardHandler)})
	for _, step := range []struct {
		available int64
		held      bool
	}{
		{200 << 20, false}, // not enough for it
		{300 << 20, true}, {300 << 20, true}, {20 << 20, true},
		{15 << 20, false}, {79 << 20, false}, {300 << 20, true},
	} {
		r.left = func(string) (int64, int64, error) { return step.available, 1 << 40, nil }
		if err := r.look("/"); err != nil {
			t.Skipf("this file system reserves nothing: %v", err)
		}
		info, err := os.Stat(path)
		if held := err == nil && info.Size() == reserved; held != step.held {
			t.Errorf("with %d left it is held: %t, want %t (%v)", step.available, held, step.held, err)
		}
	}
}

// What an earlier run held is there for the start of the store.
func TestFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reserve")
	r := NewReserve(ReserveConfig{Path: path, Logger: slog.New(slog.DiscardHandler)})
	r.left = func(string) (int64, int64, error) { return 0, 0, errors.New("no directory yet") }
	if err := r.Free("/"); err != nil {
		t.Errorf("the first start: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		available int64
		held      bool
	}{{16 << 20, true}, {16<<20 - 1, false}} {
		r.left = func(string) (int64, int64, error) { return step.available, 1 << 40, nil }
		if err := r.Free("/"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); (err == nil) != step.held {
			t.Errorf("with %d left: %v, want it held: %t", step.available, err, step.held)
		}
	}
}
