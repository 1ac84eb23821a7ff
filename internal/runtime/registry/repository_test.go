package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fake is a registry with one manifest and one blob, which breaks off, asks who is
// there, and lies as a test wants.
type fake struct {
	*httptest.Server
	blob []byte

	mu       sync.Mutex
	requests []string
	// handle answers first; false leaves it to the registry.
	handle func(w http.ResponseWriter, req *http.Request) bool
	// breakAfter is how many bytes of a blob are sent at a time; 0 is all.
	breakAfter int
	ranges     bool
}

func (f *fake) host() string {
	_, host, _ := strings.Cut(f.URL, "://")
	return host
}

func (f *fake) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, req.URL.RequestURI())
	f.mu.Unlock()
	if f.handle != nil && f.handle(w, req) {
		return
	}
	last := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
	switch {
	case strings.Contains(req.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Write([]byte(`{"schemaVersion":2}`))
	case last == digestOf(f.blob):
		f.sendBlob(w, req)
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"no such blob"}]}`)
	}
}

func (f *fake) sendBlob(w http.ResponseWriter, req *http.Request) {
	at := 0
	if from, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok && f.ranges {
		at, _ = strconv.Atoi(strings.TrimSuffix(from, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(f.blob)-1, len(f.blob)))
	}
	rest := f.blob[at:]
	w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
	if at > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if f.breakAfter > 0 && len(rest) > f.breakAfter {
		w.Write(rest[:f.breakAfter])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write(rest)
}

func start(t *testing.T, f *fake) *fake {
	t.Helper()
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// registries are reached as hosts.toml says for every registry.
func registries(t *testing.T, hosts string, registry string) *Registries {
	t.Helper()
	dir := t.TempDir()
	if hosts != "" {
		if err := os.MkdirAll(filepath.Join(dir, registry), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, registry, "hosts.toml"), []byte(hosts), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return New(Config{Path: dir, Pause: func(ctx context.Context, _ int) error { return ctx.Err() }})
}

func open(t *testing.T, r *Registries, registry string, login Login) *Repository {
	t.Helper()
	repo, err := r.Repository(registry, "team/app", login)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(repo.Close)
	return repo
}

func read(t *testing.T, repo *Repository, digest string, size int) ([]byte, error) {
	t.Helper()
	b, err := repo.Blob(t.Context(), digest, int64(size))
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

// A transfer that breaks off goes on where it broke off, as long as something
// comes each time.
func TestBlobGoesOn(t *testing.T) {
	blob := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	for _, tc := range []struct {
		name       string
		ranges     bool
		breakAfter int
		want       string
	}{
		{"whole", true, 0, ""},
		{"breaks off every 3000 bytes", true, 3000, ""},
		{"knows no ranges", false, 9000, "came"},
		{"breaks off too often", true, 100, "attempts"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t, &fake{blob: blob, ranges: tc.ranges, breakAfter: tc.breakAfter})
			got, err := read(t, open(t, registries(t, "", ""), f.host(), Login{}), digestOf(blob), len(blob))
			if tc.want == "" && (err != nil || !bytes.Equal(got, blob)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error = %v, want %q", err, tc.want)
			}
		})
	}
}

// Where a mirror breaks off, the next endpoint goes on.
func TestBlobGoesOnElsewhere(t *testing.T) {
	blob := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	mirror := start(t, &fake{blob: blob, ranges: true, breakAfter: 5000})
	broken := false
	mirror.handle = func(w http.ResponseWriter, req *http.Request) bool {
		mirror.mu.Lock()
		defer mirror.mu.Unlock()
		if broken {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		broken = true
		return false
	}
	upstream := start(t, &fake{blob: blob, ranges: true})
	r := registries(t, fmt.Sprintf("server = %q\n[host.%q]", upstream.URL, mirror.URL), "r.example")
	got, err := read(t, open(t, r, "r.example", Login{}), digestOf(blob), len(blob))
	if err != nil || !bytes.Equal(got, blob) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if len(upstream.requests) != 1 || !strings.HasSuffix(mirror.requests[0], "?ns=r.example") {
		t.Errorf("requests: mirror %q, registry %q", mirror.requests, upstream.requests)
	}
}

// Who has sent a part of a blob is asked again, though a mirror does not have it.
func TestBlobGoesOnInSpiteOfMirrors(t *testing.T) {
	blob := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	mirror := start(t, &fake{})
	upstream := start(t, &fake{blob: blob, ranges: true, breakAfter: 9000})
	asked := 0
	upstream.handle = func(w http.ResponseWriter, req *http.Request) bool {
		asked++
		if asked == 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return asked == 2
	}
	r := registries(t, fmt.Sprintf("server = %q\n[host.%q]", upstream.URL, mirror.URL), "r.example")
	got, err := read(t, open(t, r, "r.example", Login{}), digestOf(blob), len(blob))
	if err != nil || !bytes.Equal(got, blob) || asked != 3 {
		t.Errorf("%d bytes in %d requests, %v", len(got), asked, err)
	}
}

func TestBlobLies(t *testing.T) {
	blob := []byte("content")
	f := start(t, &fake{blob: blob})
	f.handle = func(w http.ResponseWriter, req *http.Request) bool { w.Write([]byte("forgery")); return true }
	got, err := read(t, open(t, registries(t, "", ""), f.host(), Login{}), digestOf(blob), len(blob))
	if !errors.Is(err, ErrDigest) {
		t.Errorf("%q, %v", got, err)
	}
	repo := open(t, registries(t, "", ""), f.host(), Login{})
	if _, err := repo.Manifest(t.Context(), digestOf(blob)); !errors.Is(err, ErrDigest) {
		t.Errorf("manifest: %v", err)
	}
	if _, err := repo.Manifest(t.Context(), "sha512:abc"); err == nil || !strings.Contains(err.Error(), "only sha256") {
		t.Errorf("manifest: %v", err)
	}
}

func TestMirrors(t *testing.T) {
	upstream, good, bad := start(t, &fake{}), start(t, &fake{}), start(t, &fake{})
	bad.handle = func(w http.ResponseWriter, req *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true }
	for _, tc := range []struct {
		name, hosts, ref string
		from             *fake
		want             string
	}{
		{"first that answers", fmt.Sprintf("server=%q\n[host.%q]\n[host.%q]", upstream.URL, bad.URL, good.URL), "v1", good, ""},
		{"out of reach", fmt.Sprintf("server=%q\n[host.'http://127.0.0.1:1']", upstream.URL), "v1", upstream, ""},
		{"tag where nobody resolves", fmt.Sprintf("server=%q\n[host.%q]\ncapabilities=['pull']", upstream.URL, good.URL), "v1", upstream, ""},
		{"digest where nobody resolves", fmt.Sprintf("server=%q\n[host.%q]\ncapabilities=['pull']", upstream.URL, good.URL), digestOf([]byte(`{"schemaVersion":2}`)), good, ""},
		{"nobody", "server='http://127.0.0.1:1'\ncapabilities=['push']", "v1", nil, "no host in the registry configuration"},
		{"all errors", fmt.Sprintf("server='http://127.0.0.1:1'\n[host.%q]", bad.URL), "v1", nil, "403 Forbidden"},
		{"override_path", fmt.Sprintf("server=%q\noverride_path=true", upstream.URL+"/x/y"), "v1", upstream, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, f := range []*fake{upstream, good, bad} {
				f.requests = nil
			}
			_, err := open(t, registries(t, tc.hosts, "r.example"), "r.example", Login{}).Manifest(t.Context(), tc.ref)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Fatalf("error = %v, want %q", err, tc.want)
			}
			for _, f := range []*fake{upstream, good} {
				if asked := len(f.requests) > 0; asked != (f == tc.from) {
					t.Errorf("upstream %q, good %q, bad %q", upstream.requests, good.requests, bad.requests)
				}
			}
			if tc.name == "override_path" && !strings.HasPrefix(upstream.requests[0], "/x/y/team/app/manifests/v1") {
				t.Errorf("requests = %q", upstream.requests)
			}
			if tc.name == "all errors" && !IsUnreachable(err) {
				t.Errorf("%v: the registry itself is out of reach", err)
			}
		})
	}
}

// TLS with a CA, a client's certificate and headers; none of it goes elsewhere.
func TestTLSAndHeaders(t *testing.T) {
	var leaked http.Header
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		leaked = req.Header
		io.WriteString(w, "content")
	}))
	defer elsewhere.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("X-Key") != "secret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if _, _, ok := req.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, req, elsewhere.URL+"/blob", http.StatusTemporaryRedirect)
	}))
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	login := Login{Username: "u", Password: "p"}
	for name, tc := range map[string]struct{ hosts, want string }{
		"its CA":       {fmt.Sprintf("server=%q\nca=%q\n[header]\nx-key='secret'", secure.URL, ca), ""},
		"not verified": {fmt.Sprintf("server=%q\nskip_verify=true\n[header]\nx-key='secret'", secure.URL), ""},
		"no CA":        {fmt.Sprintf("server=%q\n[header]\nx-key='secret'", secure.URL), "certificate"},
		"no header":    {fmt.Sprintf("server=%q\nca=%q", secure.URL, ca), "403"},
	} {
		leaked = nil
		got, err := read(t, open(t, registries(t, tc.hosts, "r"), "r", login), digestOf([]byte("content")), 7)
		if tc.want == "" && (err != nil || string(got) != "content") || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if leaked.Get("X-Key") != "" || leaked.Get("Authorization") != "" || leaked.Get("Referer") != "" {
			t.Errorf("%s: %v went elsewhere", name, leaked)
		}
	}
}

func TestPlainHTTPHasToBeAllowed(t *testing.T) {
	f := start(t, &fake{})
	if _, err := open(t, registries(t, "", ""), f.host(), Login{}).Manifest(t.Context(), "v1"); err != nil {
		t.Errorf("this machine itself: %v", err)
	}
	_, err := open(t, registries(t, fmt.Sprintf("server='https://%s'", f.host()), "r"), "r", Login{}).Manifest(t.Context(), "v1")
	if err == nil || !strings.Contains(err.Error(), "speaks plain HTTP") || IsUnreachable(err) {
		t.Errorf("https by configuration: %v", err)
	}
}

// tokens is a registry that asks for tokens of a token server.
func tokens(t *testing.T, realm func(token, reg string) string, check func(req *http.Request) bool) (*fake, *int) {
	t.Helper()
	served := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.ParseForm()
		if !check(req) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		served++
		fmt.Fprintf(w, `{"access_token":"t%d"}`, served)
	}))
	t.Cleanup(server.Close)
	f := start(t, &fake{})
	f.handle = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Header.Get("Authorization") == fmt.Sprintf("Bearer t%d", served) && served > 0 {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="s",scope="repository:team/app:pull"`, realm(server.URL, f.URL)))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	return f, &served
}

func TestTokens(t *testing.T) {
	direct := func(token, _ string) string { return token }
	basicAuth := func(req *http.Request) bool {
		return req.Header.Get("Authorization") == "Basic "+base64.StdEncoding.EncodeToString([]byte("u:p")) &&
			req.Form.Get("service") == "s" && req.Form.Get("scope") == "repository:team/app:pull"
	}
	for _, tc := range []struct {
		name  string
		login Login
		realm func(token, reg string) string
		check func(*http.Request) bool
		want  string
	}{
		{"password", Login{Username: "u", Password: "p"}, direct, basicAuth, ""},
		{"wrong password", Login{Username: "u", Password: "x"}, direct, basicAuth, "log in: GET"},
		{"anybody", Login{}, direct, func(*http.Request) bool { return true }, ""},
		{"identity token", Login{IdentityToken: "id"}, direct, func(req *http.Request) bool {
			return req.Method == "POST" && req.Form.Get("grant_type") == "refresh_token" && req.Form.Get("refresh_token") == "id"
		}, ""},
		{"a cloud's secrets", Login{Username: "u", Password: "p"}, func(string, string) string { return "http://169.254.169.254/token" }, basicAuth, "link-local"},
		{"no realm", Login{Username: "u", Password: "p"}, func(string, string) string { return "" }, basicAuth, "names no token server"},
		{"token of the registry's", Login{RegistryToken: "mine"}, direct, basicAuth, "401"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, served := tokens(t, tc.realm, tc.check)
			repo := open(t, registries(t, "", ""), f.host(), tc.login)
			for range 2 {
				_, err := repo.Manifest(t.Context(), "v1")
				if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Fatalf("error = %v, want %q", err, tc.want)
				}
			}
			if tc.want != "" {
				return
			}
			if *served != 1 {
				t.Errorf("%d tokens for two requests", *served)
			}
			*served++ // the token has expired
			if _, err := repo.Manifest(t.Context(), "v1"); err != nil {
				t.Errorf("after the token expired: %v", err)
			}
		})
	}
}

// A token server that leads elsewhere takes no identity token along.
func TestIdentityTokenStays(t *testing.T) {
	elsewhere := start(t, &fake{})
	elsewhere.handle = func(w http.ResponseWriter, req *http.Request) bool {
		io.WriteString(w, `{"token":"t"}`)
		return true
	}
	f := start(t, &fake{})
	f.handle = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/token" {
			http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
		} else {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+f.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
		return true
	}
	_, err := open(t, registries(t, "", ""), f.host(), Login{IdentityToken: "id"}).Manifest(t.Context(), "v1")
	if err == nil || !strings.Contains(err.Error(), "is not given the identity token") || len(elsewhere.requests) > 0 {
		t.Errorf("%v; requests elsewhere: %q", err, elsewhere.requests)
	}
}

// Whoever is secure does not send passwords to somebody who is not.
func TestTokenServerInPlainHTTP(t *testing.T) {
	c := &client{endpoint: endpoint{scheme: "https", host: "r"}}
	if _, err := c.realm("http://r/token"); err == nil {
		t.Error("a password would go by plain HTTP")
	}
	if _, err := c.realm("https://elsewhere/token"); err != nil {
		t.Error(err)
	}
}

func TestErrorsDoNotTellSecrets(t *testing.T) {
	f := start(t, &fake{})
	f.handle = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/cdn" {
			w.WriteHeader(http.StatusForbidden)
		} else {
			http.Redirect(w, req, "/cdn?signature=secret", http.StatusFound)
		}
		return true
	}
	_, err := read(t, open(t, registries(t, "", ""), f.host(), Login{}), digestOf(nil), 1)
	var status *StatusError
	if !errors.As(err, &status) || status.Code != 403 || strings.Contains(err.Error(), "secret") {
		t.Errorf("error = %v", err)
	}
	f.Close()
	if _, err = open(t, registries(t, "", ""), f.host(), Login{}).Manifest(t.Context(), "v1"); !IsUnreachable(err) {
		t.Errorf("error = %v", err)
	}
}
