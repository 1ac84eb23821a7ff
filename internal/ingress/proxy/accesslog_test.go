package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"minato/internal/ingress/table"
)

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// logged runs a proxy with an access log.
func logged(t *testing.T, s *table.Settings, all ...*table.Ingress) (*rig, *syncBuffer) {
	t.Helper()
	out := &syncBuffer{}
	l, err := NewAccessLog(AccessLogConfig{Writer: out, Every: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return start(t, tableOf(s, all...), func(c *Config) { c.Observer = Observers{c.Observer, l} }), out
}

func TestAccessLog(t *testing.T) {
	r, out := logged(t, settings(),
		ingress("a", nil, "a.example / web"),
		ingress("b", loc(func(l *table.Location) { l.NoAccessLog = true }), "b.example / web"))
	r.backend("web", refusing(t), serve(t, echo))
	_, _ = r.get("b.example", "/silent")
	_, _ = r.get("a.example", "/p?q=\"1\"", "User-Agent", "me \\ \x80", "Referer", "http://x/", "X-Request-ID", "id-1")
	_, _ = r.get("nowhere.example", "/")
	line := `127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /p\?q=\\x221\\x22 HTTP/1\.1" 200 \d+ "http://x/" "me \\x5C \\x80" ` +
		`\d+ \d\.\d{3} \[d-web-80\] \[-\] 127\.0\.0\.1:\d+(, 127\.0\.0\.1:\d+)? (0, )?\d+ \d\.\d{3}(, \d\.\d{3})? (502, )?200 id-1`
	none := `127\.0\.0\.1 - - \[[^]]+\] "GET / HTTP/1\.1" 404 \d+ "-" "Go-http-client/1\.1" \d+ \d\.\d{3} \[upstream-default-backend\] \[-\] - - - - [0-9a-f]{32}`
	want := regexp.MustCompile("^" + line + "\n" + none + "\n$")
	eventually(t, "both lines", func() bool { return strings.Count(out.String(), "\n") == 2 })
	if !want.MatchString(out.String()) {
		t.Errorf("got\n%swant\n%s\n%s", out, line, none)
	}
}

func TestAccessLogJSON(t *testing.T) {
	s := settings()
	s.Log = table.LogSettings{JSON: true, SkipPaths: []string{"/skip"}, Format: formatOf(
		`{"host":"`, table.VarHost, `","agent":"`, table.Part{Var: table.VarHeader, Name: "user-agent"}, `","status":`, table.VarStatus,
		`,"type":"`, table.Part{Var: table.VarSentHeader, Name: "content-type"}, `","user":"`, table.VarRemoteUser, `"}`)}
	r, out := logged(t, s, ingress("a", nil, "a.example / web"))
	r.backend("web", serve(t, echo))
	_, _ = r.get("a.example", "/skip")
	_, _ = r.get("a.example", "/", "User-Agent", `x"y\z`)
	eventually(t, "the line", func() bool { return strings.HasSuffix(out.String(), "\n") })
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got["host"] != "a.example" || got["agent"] != `x"y\z` || got["status"] != 200.0 || got["type"] != "text/plain; charset=utf-8" || got["user"] != "" {
		t.Errorf("%v", got)
	}
}

// TestAccessLogDrops: requests do not wait for a writer that is stuck.
func TestAccessLogDrops(t *testing.T) {
	l, err := NewAccessLog(AccessLogConfig{Writer: &syncBuffer{}, Pending: 100})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		l.Line(make([]byte, 60))
	}
	if n := l.Dropped(); n != 8 {
		t.Errorf("%d lines were dropped, want 8", n)
	}
}
