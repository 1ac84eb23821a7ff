package cluster

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFollowEndsWithTheStart(t *testing.T) {
	for _, test := range []struct {
		name   string
		report func(*progress)
		stages []string
		err    string
	}{
		{"ready", func(p *progress) {
			p.stage("etcd", time.Now())
			p.report(Event{Ready: true})
			p.stage("later", time.Now()) // must not block or be lost for `status`
		}, []string{"etcd"}, ""},
		{"failed", func(p *progress) {
			p.stage("lan", time.Now())
			p.report(Event{Error: "no space"})
		}, []string{"lan"}, "no space"},
		{"died", func(p *progress) { p.out.Close() }, nil, "ended before"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, w := io.Pipe()
			p := newProgress(time.Now(), w)
			done := make(chan struct{})
			go func() { defer close(done); test.report(p) }()
			var stages []string
			err := follow(r, func(e Event) {
				if e.Stage != "" {
					stages = append(stages, e.Stage)
				}
			})
			<-done
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("follow() = %v, want %q", err, test.err)
			}
			if !slices.Equal(stages, test.stages) {
				t.Errorf("stages = %q, want %q", stages, test.stages)
			}
		})
	}
}

// An `up` that was ended must not stop the server.
func TestProgressSurvivesItsReader(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(errors.New("gone"))
	p := newProgress(time.Now(), w)
	p.stage("etcd", time.Now())
	p.report(Event{Ready: true})
	if events := p.all(); len(events) != 2 || events[0].Stage != "etcd" || !events[1].Ready {
		t.Errorf("events = %+v", events)
	}
}

func TestLock(t *testing.T) {
	if err := RequireRoot(); err != nil {
		t.Skip(err)
	}
	p := Paths{Name: "mt-lock"}
	t.Cleanup(func() { removeEmpty(p.Run()) })
	if pid, err := serverPID(p); err != nil || pid != 0 {
		t.Fatalf("before: %d, %v", pid, err)
	}
	f, err := acquireLock(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := acquireLock(p); !errors.Is(err, ErrRunning) {
		t.Errorf("second lock: %v, want ErrRunning", err)
	}
	if pid, err := serverPID(p); err != nil || pid == 0 {
		t.Errorf("while held: %d, %v", pid, err)
	}
	f.Close()
	if err := waitStopped(t.Context(), p); err != nil {
		t.Error(err)
	}
	if err := clean(t.Context(), p); err != nil {
		t.Error(err)
	}
}
