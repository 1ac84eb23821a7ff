package logbook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		text  string
		timed bool
		node  string
		parts string
		json  string
	}{
		{`time=2026-05-01T10:00:00.5Z level=INFO msg="cluster names loaded" part=dns services=1`, true, "", "dns",
			`{"level":"INFO","msg":"cluster names loaded","part":"dns","services":"1","time":"2026-05-01T10:00:00.5Z"}`},
		{`time=2026-05-01T10:00:00Z level=ERROR msg="failed" part=controlplane part=etcd node=node-2 error="a \"b\"\nc=d"`, true, "node-2", "controlplane etcd",
			`{"error":"a \"b\"\nc=d","level":"ERROR","msg":"failed","node":"node-2","part":["controlplane","etcd"],"time":"2026-05-01T10:00:00Z"}`},
		{`time=2026-05-01T10:00:00Z level=INFO msg=m part=controlplane component=etcd`, true, "", "controlplane etcd",
			`{"component":"etcd","level":"INFO","msg":"m","part":"controlplane","time":"2026-05-01T10:00:00Z"}`},
		{`	/src/a.go:12 +0x1d part=dns`, false, "", "", `{"msg":"\t/src/a.go:12 +0x1d part=dns"}`},
		{`goroutine 1 [running]:`, false, "", "", `{"msg":"goroutine 1 [running]:"}`},
		{`time=yesterday msg=x`, false, "", "", `{"msg":"time=yesterday msg=x"}`},
		{`time=2026-05-01T10:00:00Z msg="torn`, false, "", "", `{"msg":"time=2026-05-01T10:00:00Z msg=\"torn"}`},
		{``, false, "", "", `{"msg":""}`},
	} {
		l := Parse(test.text)
		data, err := json.Marshal(l)
		if l.Text != test.text || l.Time.IsZero() == test.timed || l.Node() != test.node || strings.Join(l.Parts(), " ") != test.parts || err != nil || string(data) != test.json {
			t.Errorf("%s: %v, node %q, parts %q, %s, %v", test.text, l.Time, l.Node(), l.Parts(), data, err)
		}
	}
}

// What slog writes is read back, whatever is in it.
func FuzzParse(f *testing.F) {
	f.Add("a part", "error", "no \"space\" = left\n")
	f.Add("", "k", "")
	f.Fuzz(func(t *testing.T, message, part, text string) {
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).With("part", part).Info(message, "error", text)
		line := strings.TrimSuffix(out.String(), "\n")
		l := Parse(line)
		want := []Attr{{"level", "INFO"}, {"msg", message}, {"part", part}, {"error", text}}
		if valid(message) && valid(part) && valid(text) && (l.Time.IsZero() || !slices.Equal(l.Attrs, want)) {
			t.Errorf("%q: %q, want %q", line, l.Attrs, want)
		}
		Parse(message + "=" + text) // must not panic
	})
}

func valid(s string) bool { return strings.ToValidUTF8(s, "") == s }

func line(second int, node, part, text string) string {
	l := fmt.Sprintf("time=%s level=INFO msg=%s part=%s", time.Date(2026, 5, 1, 10, 0, second, 0, time.UTC).Format(time.RFC3339), text, part)
	if node != "" {
		l += " node=" + node
	}
	return l + "\n"
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "minato.log")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(olderFile(path, 2), line(1, "", "etcd", "a")+line(2, "node-1", "dns", "b"))
	write(olderFile(path, 1), line(3, "node-2", "dns-metrics", "c")+"panic: stack\n"+line(4, "node-2", "services", "d"))
	write(path, line(5, "node-1", "service-health", "e")+line(6, "", "dns", "f")+strings.TrimSuffix(line(7, "node-1", "dns", "g"), "\n"))
	all := Options{Tail: -1}
	for _, test := range []struct {
		name string
		o    Options
		want string // messages in order; . is the line of the stack
	}{
		{"all", all, "abc.defg"},
		{"a part with those that belong to it", Options{Filter: Filter{Part: "dns"}, Tail: -1}, "bc.fg"},
		{"a plural", Options{Filter: Filter{Part: "services"}, Tail: -1}, "de"},
		{"one of a part", Options{Filter: Filter{Part: "dns-metrics"}, Tail: -1}, "c."},
		{"a node", Options{Filter: Filter{Node: "node-1"}, Tail: -1}, "beg"},
		{"a part of a node", Options{Filter: Filter{Part: "dns", Node: "node-1"}, Tail: -1}, "bg"},
		{"parts by their names alone", Options{Filter: Filter{Parts: []string{"dns", "etcd"}}, Tail: -1}, "abfg"},
		{"what is about a node or none", Options{Filter: Filter{Parts: []string{"dns", "etcd"}, Node: "node-1", OrNone: true}, Tail: -1}, "abfg"},
		{"before", Options{Filter: Filter{Before: time.Date(2026, 5, 1, 10, 0, 3, 0, time.UTC)}, Tail: -1}, "ab"},
		{"since", Options{Filter: Filter{Since: time.Date(2026, 5, 1, 10, 0, 4, 0, time.UTC)}, Tail: -1}, "defg"},
		{"the last two", Options{Tail: 2}, "fg"},
		{"the last of a part", Options{Filter: Filter{Part: "services"}, Tail: 1}, "e"},
		{"more than there are", Options{Tail: 99}, "abc.defg"},
		{"none", Options{Tail: 0}, ""},
	} {
		var got strings.Builder
		err := Read(t.Context(), path, test.o, func(l Line) error { got.WriteString(message(l)); return nil })
		if err != nil || got.String() != test.want {
			t.Errorf("%s: %q, %v; want %q", test.name, got.String(), err, test.want)
		}
	}
	parts, nodes, err := Names(t.Context(), path)
	if err != nil || strings.Join(parts, " ") != "dns dns-metrics etcd service-health services" || strings.Join(nodes, " ") != "node-1 node-2" {
		t.Errorf("names: %q, %q, %v", parts, nodes, err)
	}
	stop := errors.New("no reader")
	if err := Read(t.Context(), path, all, func(Line) error { return stop }); err != stop {
		t.Errorf("a reader that fails: %v", err)
	}
	if err := Read(t.Context(), path+".none", all, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
}

func message(l Line) string {
	for _, a := range l.Attrs {
		if a.Key == "msg" {
			return a.Value
		}
	}
	return "."
}

// A log is rotated while somebody appends and somebody follows: every line is read
// once, in order, and old files are bounded.
func TestFollowThroughRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "minato.log")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	lines, done := make(chan string, 100), make(chan error, 1)
	go func() {
		done <- Read(ctx, path, Options{Follow: true, Tail: -1}, func(l Line) error { lines <- message(l); return nil })
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-lines:
			if got != want {
				t.Fatalf("read %q, want %q", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("%q was not read", want)
		}
	}
	number := 0
	write := func() string {
		t.Helper()
		number++
		text := fmt.Sprintf("line-%d", number)
		if _, err := out.WriteString(line(number%60, "node-1", "dns", text)); err != nil {
			t.Fatal(err)
		}
		return text
	}
	for round := range Kept + 3 {
		expect(write())
		unread := []string{write(), write()} // perhaps not before the rotation
		for rotated := false; !rotated; {
			if rotated, err = Rotate(path, 100); err != nil || ctx.Err() != nil {
				t.Fatalf("round %d: rotated %t, %v", round, rotated, err)
			}
		}
		for _, want := range append(unread, write()) {
			expect(want)
		}
	}
	if _, err := out.WriteString(strings.TrimSuffix(line(1, "", "dns", "half"), "\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.WriteString("-more\n"); err != nil {
		t.Fatal(err)
	}
	expect("half")
	if files := Files(path); len(files) != Kept+1 {
		t.Errorf("%d files are kept: %q", len(files), files)
	}
	info, err := os.Stat(olderFile(path, 1))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("an older file: %v, %v", info.Mode(), err)
	}
	if rotated, err := Rotate(path, 1<<20); rotated || err != nil {
		t.Errorf("a short log: rotated %t, %v", rotated, err)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("at its end: %v", err)
	}
}
