package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const sample = `2026-01-02T03:04:01.000000001Z stdout F one
2026-01-02T03:04:02.000000002Z stderr F two
2026-01-02T03:04:03.000000003Z stdout P thr
2026-01-02T03:04:03.000000004Z stdout F ee
garbage
2026-01-02T03:04:04.000000005Z stdout F four
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	path := write(t, sample)
	all := func(change func(*Options)) Options {
		o := Options{Tail: -1, Limit: -1}
		change(&o)
		return o
	}
	for _, c := range []struct {
		name     string
		o        Options
		out, err string
	}{
		{"all", all(func(*Options) {}), "one\nthree\nfour\n", "two\n"},
		{"last line", all(func(o *Options) { o.Tail = 1 }), "four\n", ""},
		{"no line", all(func(o *Options) { o.Tail = 0 }), "", ""},
		{"more lines than there are", all(func(o *Options) { o.Tail = 100 }), "one\nthree\nfour\n", "two\n"},
		{"since", all(func(o *Options) { o.Since = time.Date(2026, 1, 2, 3, 4, 4, 0, time.UTC) }), "four\n", ""},
		{"limit", all(func(o *Options) { o.Limit = 6 }), "one\n", "tw"},
		{"timestamps", all(func(o *Options) { o.Timestamps = true; o.Since = time.Date(2026, 1, 2, 3, 4, 3, 0, time.UTC) }), "2026-01-02T03:04:03.000000003Z three\n2026-01-02T03:04:04.000000005Z four\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if err := Read(t.Context(), path, c.o, &out, &errOut); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.out || errOut.String() != c.err {
				t.Errorf("read %q and %q, want %q and %q", out.String(), errOut.String(), c.out, c.err)
			}
		})
	}
}

func TestReadOneStream(t *testing.T) {
	var out bytes.Buffer
	if err := Read(t.Context(), write(t, sample), Options{Tail: -1, Limit: -1}, nil, &out); err != nil || out.String() != "two\n" {
		t.Errorf("read %q, %v", out.String(), err)
	}
}

func TestTailOverManyBlocks(t *testing.T) {
	var b strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&b, "2026-01-02T03:04:01Z stdout F line %d\n", i)
	}
	var out bytes.Buffer
	if err := Read(t.Context(), write(t, b.String()), Options{Tail: 500, Limit: -1}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 500 || lines[0] != "line 1500" {
		t.Errorf("%d lines, the first %q", len(lines), lines[0])
	}
}

// syncBuffer may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

func TestFollow(t *testing.T) {
	path := write(t, "2026-01-02T03:04:01Z stdout F one\n")
	var running atomic.Bool
	running.Store(true)
	var out syncBuffer
	done := make(chan error, 1)
	go func() {
		done <- Read(context.Background(), path, Options{
			Follow: true, Tail: -1, Limit: -1, Pause: time.Millisecond,
			Running: func(context.Context) (bool, error) { return running.Load(), nil },
		}, &out, &out)
	}()
	eventually(t, "the first line", func() bool { return out.String() == "one\n" })
	appendTo := func(text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	appendTo("2026-01-02T03:04:02Z std")
	appendTo("out F two\n")
	eventually(t, "a line written in two parts", func() bool { return out.String() == "one\ntwo\n" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo("2026-01-02T03:04:03Z stdout F three\n")
	eventually(t, "the line after a rotation", func() bool { return out.String() == "one\ntwo\nthree\n" })
	appendTo("2026-01-02T03:04:04Z stdout F last\n")
	running.Store(false)
	if err := <-done; err != nil || out.String() != "one\ntwo\nthree\nlast\n" {
		t.Errorf("read %q, %v", out.String(), err)
	}
}

func TestFollowEndsWithItsReader(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Read(ctx, write(t, sample), Options{Follow: true, Tail: -1, Limit: -1}, nil, nil)
	}()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDamagedRecords has a file that is damaged: a record without an end for
// longer than any that the runtime writes.
func TestDamagedRecords(t *testing.T) {
	const good = "2026-01-02T03:04:01Z stdout F one\n"
	start := "2026-01-02T03:04:01Z stdout F "
	longest := strings.Repeat("x", maxRecord-len(start)-1)
	path := write(t, good+start+longest+"x\n"+start+longest+"\n"+strings.Repeat("\x00", 3*maxRecord)+"\n"+good)
	var out strings.Builder
	var end int64
	if err := Read(t.Context(), path, Options{Tail: -1, Limit: -1, Reached: func(n int64) { end = n }}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if want := "one\n" + longest + "\none\n"; out.String() != want {
		t.Errorf("read %d bytes, want %d", out.Len(), len(want))
	}
	if info, err := os.Stat(path); err != nil || info.Size() != end {
		t.Errorf("read up to %d of %v, %v", end, info.Size(), err)
	}
}

func FuzzParse(f *testing.F) {
	for line := range strings.Lines(sample) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		l, err := parse(record)
		if err == nil && !bytes.Contains(record, bytes.TrimSuffix(l.text, []byte("\n"))) {
			t.Errorf("%q is not in %q", l.text, record)
		}
	})
}
