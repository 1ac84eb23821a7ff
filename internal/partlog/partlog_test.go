package partlog

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil)).With("node", "node-1", "part", "dns")
	log.Info(`a "quoted" message part=fake node=other`, "component", "etcd", "error", "x=y part=z")
	l := Parse(strings.TrimSuffix(b.String(), "\n"))
	if l.Node != "node-1" || !slices.Equal(l.Parts, []string{"dns", "etcd"}) || time.Since(l.Time) > time.Minute {
		t.Errorf("%q is read as %+v", b.String(), l)
	}
	for _, text := range []string{"", "goroutine 1 [running]:", "\tmain.go:12 +0x1", `part="unfinished`, "==", "a b=c"} {
		if l := Parse(text); !l.Time.IsZero() {
			t.Errorf("%q has a time", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`time=2026-11-27T14:31:48.027Z level=INFO msg="a \"b\"" part=dns`)
	f.Fuzz(func(_ *testing.T, text string) { Parse(text) })
}

const sample = `time=2026-01-01T00:00:01.000Z level=INFO msg="one" part=controlplane component=etcd
time=2026-01-01T00:00:02.000Z level=INFO msg="two" node=node-1 part=dns
time=2026-01-01T00:00:03.000Z level=INFO msg="three" node=node-2 part=dns
time=2026-01-01T00:00:04.000Z level=INFO msg="four" part=dns
goroutine of four
time=2026-01-01T00:00:05.000Z level=INFO msg="five" node=node-1 part=service
goroutine of five
`

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	second := func(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }
	dns := Selector{Parts: []string{"dns"}, Node: "node-1"}
	for _, test := range []struct {
		name string
		o    Options
		want []string
	}{
		{"a part on a node, and on none", Options{Selector: dns, Tail: -1, Limit: -1}, []string{"two", "four", "goroutine of four"}},
		{"a part without a node", Options{Selector: Selector{Parts: []string{"etcd"}}, Tail: -1, Limit: -1}, []string{"one"}},
		{"the last", Options{Selector: dns, Tail: 1, Limit: -1}, []string{"goroutine of four"}},
		{"none", Options{Selector: dns, Tail: 0, Limit: -1}, nil},
		{"since", Options{Selector: dns, Tail: -1, Limit: -1, Since: second(4)}, []string{"four", "goroutine of four"}},
		{"before", Options{Selector: dns, Tail: -1, Limit: -1, Before: second(4)}, []string{"two"}},
		{"limit", Options{Selector: dns, Tail: -1, Limit: 20}, []string{"time=2026-01-01T00:0"}},
		{"timestamps", Options{Selector: Selector{Parts: []string{"etcd"}}, Tail: -1, Limit: -1, Timestamps: true}, []string{"2026-01-01T00:00:01Z time=2026-01-01T00:00:01.000Z level=INFO msg=\"one\""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Read(t.Context(), path, test.o, &b); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
			if b.Len() == 0 {
				lines = nil
			}
			if len(lines) != len(test.want) {
				t.Fatalf("have %q, want %q", lines, test.want)
			}
			for i, want := range test.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d is %q, want %q", i, lines[i], want)
				}
			}
		})
	}
	if err := Read(t.Context(), path+".gone", Options{Selector: dns}, new(bytes.Buffer)); err == nil {
		t.Error("a log that is not there can be read")
	}
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var out buffer
	done := make(chan error)
	go func() {
		done <- Read(ctx, path, Options{Selector: Selector{Parts: []string{"dns"}}, Tail: -1, Limit: -1, Follow: true, Pause: time.Millisecond}, &out)
	}()
	// A line that comes in two pieces is written once, whole.
	for _, piece := range []string{"time=2026-01-01T00:00:01.000Z part=d", "ns msg=late\n"} {
		if _, err := f.WriteString(piece); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); out.String() != "time=2026-01-01T00:00:01.000Z part=dns msg=late\n"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("have %q", out.String())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
