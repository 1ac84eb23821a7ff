package dns

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// logBuffer is written to by the server while the test reads it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// The log can be turned on and off while questions come, also for those that
// packetLoop would answer at once.
func TestQueryLogOnDemand(t *testing.T) {
	out := &logBuffer{}
	settings := fixedSettings(t, "")
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Settings: settings, Logger: slog.New(slog.NewTextHandler(out, nil))})
	for _, c := range []struct {
		text   string
		logged []string // of the names asked for
	}{
		{"log: none", nil},
		{"log: all", []string{"web", "nope", "refused"}},
		{"log: errors", []string{"refused"}},
		{"log: none", nil},
	} {
		settings.current.Store(mustPolicy(t, c.text))
		before := len(out.String())
		query(t, "udp", addr, question("web.default.svc.cluster.local.", dns.TypeA))
		query(t, "tcp", addr, question("nope.default.svc.cluster.local.", dns.TypeA))
		query(t, "udp", addr, question("refused.example.", dns.TypeA)) // there is no upstream
		said := out.String()[before:]
		if n := strings.Count(said, "msg=query"); n != len(c.logged) {
			t.Errorf("%s: %d lines, want %d:\n%s", c.text, n, len(c.logged), said)
		}
		for _, name := range c.logged {
			if !strings.Contains(said, "name="+name+".") {
				t.Errorf("%s: no line for %s:\n%s", c.text, name, said)
			}
		}
	}
	if line := out.String(); !strings.Contains(line, "client=127.0.0.1:") || !strings.Contains(line, "type=A rcode=NXDOMAIN answers=0 took=") {
		t.Errorf("a line lacks something:\n%s", line)
	}
}
