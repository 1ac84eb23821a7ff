package apiserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emicklei/go-restful/v3"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestFan(t *testing.T) {
	a, b := listen(t), listen(t)
	f := newFan([]net.Listener{a, b})
	if f.Addr() != a.Addr() {
		t.Errorf("the address is %s, want %s", f.Addr(), a.Addr())
	}
	for _, l := range []net.Listener{b, a, b} {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := f.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if server.RemoteAddr().String() != client.LocalAddr().String() {
			t.Errorf("accepted %s, want %s", server.RemoteAddr(), client.LocalAddr())
		}
		_, _ = client.Close(), server.Close()
	}
	accepted := make(chan error, 1)
	go func() {
		_, err := f.Accept()
		accepted <- err
	}()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close, Accept returns %v", err)
	}
	_ = f.Close() // twice is fine
	if _, err := net.Dial("tcp", a.Addr().String()); err == nil {
		t.Error("a listener is still open")
	}
}

func TestFanReportsBrokenListener(t *testing.T) {
	a, b := listen(t), listen(t)
	f := newFan([]net.Listener{a, b})
	_ = b.Close()
	if _, err := f.Accept(); err == nil {
		t.Error("a broken listener goes unnoticed")
	}
	_ = f.Close()
}

func TestFailedChecks(t *testing.T) {
	body := "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n[-]poststarthook/a failed: reason withheld\nreadyz check failed\n"
	if got, want := failedChecks([]byte(body)), "etcd,poststarthook/a"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]string{
		"":                 v3JSON,
		"*/*":              v3JSON,
		"application/json": v3JSON,
		v3Proto:            v3Proto,
		v3Proto + ";q=0.5,application/json;q=0.9": v3JSON,
		"text/html,application/*":                 v3JSON,
		"text/html":                               "",
	} {
		got, ok := negotiate(accept)
		if got != want || ok != (want != "") {
			t.Errorf("Accept %q gives %q, %v; want %q", accept, got, ok, want)
		}
	}
}

func TestLazyOpenAPI(t *testing.T) {
	ws := new(restful.WebService)
	ws.Path("/apis/harbour/v1").Produces(restful.MIME_JSON)
	ws.Route(ws.GET("/ships").To(func(*restful.Request, *restful.Response) {}).Operation("listShips").Returns(200, "OK", ""))
	config := &common.OpenAPIV3Config{
		Info:                           &spec.Info{InfoProps: spec.InfoProps{Title: "test", Version: "v1"}},
		GetOperationIDAndTagsFromRoute: func(r common.Route) (string, []string, error) { return r.OperationName(), nil, nil },
		GetDefinitions: func(common.ReferenceCallback) map[string]common.OpenAPIDefinition {
			return map[string]common.OpenAPIDefinition{"string": {Schema: *spec.StringProperty()}}
		},
	}
	one, err := newLazyOpenAPI([]*restful.WebService{ws}, config, "1")
	if err != nil {
		t.Fatal(err)
	}
	two, err := newLazyOpenAPI([]*restful.WebService{ws}, config, "2")
	if err != nil {
		t.Fatal(err)
	}
	const name = "apis/harbour/v1"
	if one.url(name) == two.url(name) {
		t.Error("two versions have the same URL, so clients would keep an old document")
	}
	get := func(url string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		one.serveDocument(rec, httptest.NewRequest(http.MethodGet, url, nil))
		return rec
	}
	if rec := get(one.url(name)); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "listShips") {
		t.Errorf("the document is %d %s", rec.Code, rec.Body)
	}
	if rec := get(two.url(name)); rec.Code != http.StatusMovedPermanently || rec.Header().Get("Location") != one.url(name) {
		t.Errorf("another version's URL gives %d to %s", rec.Code, rec.Header().Get("Location"))
	}
	if rec := get("/openapi/v3/apis/absent/v1"); rec.Code != http.StatusNotFound {
		t.Errorf("an absent document gives %d", rec.Code)
	}
	rec := httptest.NewRecorder()
	one.serveIndex(rec, httptest.NewRequest(http.MethodGet, openAPIV3Path, nil))
	if !strings.Contains(rec.Body.String(), name) {
		t.Errorf("the index is %s", rec.Body)
	}
}

// slowPlugin is a policy plugin that isn't ready until told.
type slowPlugin struct {
	*admission.Handler
	ready chan struct{}
	calls atomic.Int32
}

func (p *slowPlugin) WaitForReady() bool { <-p.ready; return true }

func (p *slowPlugin) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	p.calls.Add(1)
	return nil
}

func TestPolicyGate(t *testing.T) {
	for _, policies := range []bool{false, true} {
		client := fake.NewClientset()
		if policies {
			client = fake.NewClientset(&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "rule"}})
		}
		factory := informers.NewSharedInformerFactory(client, 0)
		plugin := &slowPlugin{Handler: admission.NewHandler(admission.Create), ready: make(chan struct{})}
		gated, ok := policyGate{factory}.Decorate(plugin, validatingPolicies).(admission.ValidationInterface)
		if !ok {
			t.Fatal("the decorated plugin doesn't validate any more")
		}
		validate := func() {
			t.Helper()
			if err := gated.Validate(context.Background(), nil, nil); err != nil {
				t.Error(err)
			}
		}

		validate()
		if plugin.calls.Load() != 1 {
			t.Error("before it is known whether there are policies, the plugin was left out")
		}
		ctx, stop := context.WithCancel(context.Background())
		factory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		validate()
		want := int32(1)
		if policies {
			want = 2
		}
		if got := plugin.calls.Load(); got != want {
			t.Errorf("policies=%v: the unready plugin was called %d times, want %d", policies, got, want)
		}

		close(plugin.ready)
		for end := time.Now().Add(10 * time.Second); ; {
			before := plugin.calls.Load()
			validate()
			if plugin.calls.Load() > before {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the ready plugin is never called")
			}
			time.Sleep(time.Millisecond) // between polls
		}
		stop()
		factory.Shutdown()
	}
	other := admission.NewHandler(admission.Create)
	if (policyGate{informers.NewSharedInformerFactory(fake.NewClientset(), 0)}).Decorate(other, "Other") != admission.Interface(other) {
		t.Error("another plugin was decorated")
	}
}

func TestRetryStops(t *testing.T) {
	s := &Server{}
	s.cfg.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	s.retry(ctx, &task{name: "test", run: func(context.Context) error {
		if calls++; calls == 3 {
			cancel()
		}
		return io.ErrUnexpectedEOF
	}})
	if calls != 3 {
		t.Errorf("a failing step ran %d times, want 3", calls)
	}
}
