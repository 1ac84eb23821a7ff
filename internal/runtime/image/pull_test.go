package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	registries "minato/internal/runtime/registry"
)

// testRegistry serves images, only to clients with the password if there is
// one.
type testRegistry struct {
	host     string
	password string
	requests atomic.Int32
	server   *httptest.Server

	mu    sync.Mutex
	asked []string
}

// paths lists what was asked for since forget.
func (r *testRegistry) paths() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

func (r *testRegistry) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = nil
}

func startRegistry(t *testing.T, images map[string]v1.Image) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	inner := registry.New()
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		r.mu.Lock()
		r.asked = append(r.asked, req.URL.Path)
		r.mu.Unlock()
		if _, password, _ := req.BasicAuth(); r.password != "" && password != r.password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(r.server.Close)
	r.host = strings.TrimPrefix(r.server.URL, "http://")
	for path, img := range images {
		ref, err := name.ParseReference(r.host + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func noPause(ctx context.Context, _ int) error { return ctx.Err() }

func newTestService(t *testing.T, s *Store) *Service {
	t.Helper()
	return newTestServiceWith(t, s, nil)
}

func newTestServiceWith(t *testing.T, s *Store, transport http.RoundTripper) *Service {
	t.Helper()
	svc, err := NewService(ServiceConfig{Store: s, Registries: registries.Config{Transport: transport, Pause: noPause}})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func spec(image string) *runtimeapi.ImageSpec { return &runtimeapi.ImageSpec{Image: image} }

func TestPull(t *testing.T) {
	s := openStore(t)
	img := makeImage(t, "x", makeTar(t, file("f", "pulled")))
	reg := startRegistry(t, map[string]v1.Image{"team/app:v1": img})
	svc := newTestService(t, s)
	ref := reg.host + "/team/app:v1"
	id, err := svc.PullImage(t.Context(), spec(ref), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := img.ConfigName()
	if id != want.String() {
		t.Errorf("ID = %s, want %s", id, want)
	}
	resp, err := svc.ImageStatus(t.Context(), spec(ref), true)
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := img.Digest()
	if got := resp.GetImage(); got.GetId() != id || len(got.GetRepoDigests()) != 1 || got.GetRepoDigests()[0] != reg.host+"/team/app@"+digest.String() || got.GetSize() != 6 {
		t.Errorf("status = %v", got)
	}
	if got := readFile(t, filepath.Join(mounted(t, s, ref), "f")); got != "pulled" {
		t.Errorf("content = %q", got)
	}
	// The registry is asked again, also for a digest, because it decides who
	// may have the image. Layers in the store are not fetched again.
	reg.forget()
	for _, again := range []string{ref, reg.host + "/team/app@" + digest.String()} {
		if got, err := svc.PullImage(t.Context(), spec(again), nil, nil); err != nil || got != id {
			t.Errorf("pull %s again = %s, %v", again, got, err)
		}
	}
	layers, _ := img.Layers()
	layer, _ := layers[0].Digest()
	if asked := strings.Join(reg.paths(), " "); strings.Count(asked, "/manifests/") != 2 || strings.Contains(asked, layer.String()) {
		t.Errorf("requests = %s", asked)
	}
	if err := svc.RemoveImage(t.Context(), spec(id)); err != nil {
		t.Fatal(err)
	}
	if list, err := svc.ListImages(t.Context(), nil); err != nil || len(list) != 0 {
		t.Errorf("list = %v, %v", list, err)
	}
}

func TestPullWithPassword(t *testing.T) {
	s := openStore(t)
	reg := startRegistry(t, map[string]v1.Image{"app:v1": makeImage(t, "x", makeTar(t, file("f", "1")))})
	reg.password = "sesame"
	svc := newTestService(t, s)
	ref := reg.host + "/app:v1"
	for name, auth := range map[string]*runtimeapi.AuthConfig{
		"none":  nil,
		"wrong": {Username: "u", Password: "guess"},
	} {
		if _, err := svc.PullImage(t.Context(), spec(ref), auth, nil); err == nil || !strings.Contains(err.Error(), "imagePullSecret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, auth := range map[string]*runtimeapi.AuthConfig{
		"fields": {Username: "u", Password: "sesame"},
		"base64": {Auth: "dTpzZXNhbWU="},
	} {
		if _, err := svc.PullImage(t.Context(), spec(ref), auth, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := svc.RemoveImage(t.Context(), spec(ref)); err != nil {
			t.Error(err)
		}
	}
}

func TestPullErrors(t *testing.T) {
	s := openStore(t)
	reg := startRegistry(t, nil)
	svc := newTestService(t, s)
	for ref, want := range map[string]string{
		reg.host + "/nobody:v1": "does not have it",
		"127.0.0.1:1/nobody:v1": "cannot be reached",
		"Not A Name":            "Not A Name",
	} {
		start := time.Now()
		_, err := svc.PullImage(t.Context(), spec(ref), nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ref) {
			t.Errorf("pull %s: %v", ref, err)
		}
		t.Logf("%v: %v", time.Since(start), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := svc.PullImage(ctx, spec(reg.host+"/x"), nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	resp, err := svc.ImageStatus(t.Context(), spec("nobody"), false)
	if err != nil || resp.GetImage() != nil {
		t.Errorf("status of what is not here: %v, %v", resp, err)
	}
	if _, err := svc.ImageFsInfo(t.Context()); err != nil {
		t.Error(err)
	}
}

// A name under which an image was loaded from a file means that image until it
// is removed.
func TestPullKeepsWhatWasLoaded(t *testing.T) {
	s := openStore(t)
	theirs := makeImage(t, "x", makeTar(t, file("f", "theirs")))
	reg := startRegistry(t, map[string]v1.Image{"team/app:latest": theirs})
	svc := newTestService(t, s)
	ref := reg.host + "/team/app:latest"
	mine := makeImage(t, "x", makeTar(t, file("f", "mine")))
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{ref: mine}), nil); err != nil {
		t.Fatal(err)
	}
	want, _ := mine.ConfigName()
	before := reg.requests.Load()
	if id, err := svc.PullImage(t.Context(), spec(ref), nil, nil); err != nil || id != want.String() {
		t.Errorf("pull = %s, %v; want the loaded %s", id, err, want)
	}
	if got := reg.requests.Load() - before; got != 0 {
		t.Errorf("%d requests for a name that was loaded", got)
	}
	if err := s.Remove(ref); err != nil {
		t.Fatal(err)
	}
	want, _ = theirs.ConfigName()
	if id, err := svc.PullImage(t.Context(), spec(ref), nil, nil); err != nil || id != want.String() {
		t.Errorf("pull after removal = %s, %v; want the registry's %s", id, err, want)
	}
}

// An image's user is a number only where it is a user ID.
func TestImageUser(t *testing.T) {
	for in, want := range map[string]string{
		"": "name ", "app": "name app", "0": "ID 0", "1000:5": "ID 1000", "007": "ID 7", "4294967294": "ID 4294967294",
		"4294967295": "name 4294967295", "4294967296": "name 4294967296", "-1": "name -1", "99999999999999999999": "name 99999999999999999999",
	} {
		img := &Image{Config: &v1.ConfigFile{Config: v1.Config{User: in}}}
		got := "name " + img.CRI().GetUsername()
		if uid := img.CRI().GetUid(); uid != nil {
			got = fmt.Sprint("ID ", uid.GetValue())
		}
		if got != want {
			t.Errorf("user %q = %s, want %s", in, got, want)
		}
	}
}

// Nodes that want the same image at the same time have its layers fetched once;
// one that no longer wants it does not take it from the others.
func TestNodesPullOnce(t *testing.T) {
	s := openStore(t)
	img := makeImage(t, "x", makeTar(t, file("f", "content")))
	reg := startRegistry(t, map[string]v1.Image{"app:v1": img})
	layers, _ := img.Layers()
	layer, _ := layers[0].Digest()
	var fetched atomic.Int32
	held := make(chan struct{})
	hold := transportFunc(func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, layer.String()) {
			fetched.Add(1)
			select {
			case <-held:
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}
		return http.DefaultTransport.RoundTrip(req)
	})
	impatient, leave := context.WithCancel(t.Context())
	errs := make(chan error)
	pull := func(ctx context.Context) {
		svc, err := NewService(ServiceConfig{Store: s, Registries: registries.Config{Transport: hold}})
		if err == nil {
			_, err = svc.PullImage(ctx, spec(reg.host+"/app:v1"), nil, nil)
		}
		errs <- err
	}
	waiting := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			s.adding.mu.Lock()
			users := 0
			for _, turn := range s.adding.byKey {
				users += turn.users
			}
			s.adding.mu.Unlock()
			if users == n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d pulls are at the layers, want %d", users, n)
			}
		}
	}
	go pull(t.Context())
	waiting(1)
	go pull(impatient)
	for range 3 {
		go pull(t.Context())
	}
	waiting(5)
	leave()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("the pull that was left = %v", err)
	}
	close(held)
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	waiting(0)
	if fetched.Load() != 1 || len(s.adding.byKey) != 0 {
		t.Errorf("the layer was fetched %d times", fetched.Load())
	}
}

// A registry that has the same image and does not send it keeps nobody waiting
// who takes it from elsewhere.
func TestStallingRepositoryIsNobodyElsesAffair(t *testing.T) {
	s := openStore(t)
	img := makeImage(t, "x", makeTar(t, file("f", "content")))
	reg := startRegistry(t, map[string]v1.Image{"app:v1": img, "copy:v1": img})
	stalled := make(chan struct{}, 1)
	stall := transportFunc(func(req *http.Request) (*http.Response, error) {
		if strings.Contains(req.URL.Path, "/copy/blobs/") {
			layers, _ := img.Layers()
			if layer, _ := layers[0].Digest(); strings.HasSuffix(req.URL.Path, layer.String()) {
				stalled <- struct{}{}
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
		}
		return http.DefaultTransport.RoundTrip(req)
	})
	svc, err := NewService(ServiceConfig{Store: s, Registries: registries.Config{Transport: stall}})
	if err != nil {
		t.Fatal(err)
	}
	slow, leave := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := svc.PullImage(slow, spec(reg.host+"/copy:v1"), nil, nil)
		ended <- err
	}()
	<-stalled
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := svc.PullImage(ctx, spec(reg.host+"/app:v1"), nil, nil); err != nil {
		t.Error(err)
	}
	leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the pull that stalls = %v", err)
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
