package partuse

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"minato/internal/host"
)

func TestShare(t *testing.T) {
	sample := func(n int64, labels ...string) *profile.Sample {
		s := &profile.Sample{Value: []int64{n, n * 10}, Label: map[string][]string{}}
		for i := 0; i < len(labels); i += 2 {
			s.Label[labels[i]] = []string{labels[i+1]}
		}
		return s
	}
	cpu := map[Key]time.Duration{{"", "etcd"}: time.Second}
	share(cpu, &profile.Profile{Sample: []*profile.Sample{
		sample(2, labelPart, "etcd"), sample(1, labelNode, "node-1", labelPart, "dns"), sample(1, labelPart, "dns", labelNode, "node-2"),
		sample(4), sample(2, labelPart, "etcd", labelNode, ""), {},
	}}, 10*time.Second)
	want := map[Key]time.Duration{{"", "etcd"}: 5 * time.Second, {"node-1", "dns"}: time.Second, {"node-2", "dns"}: time.Second}
	if len(cpu) != len(want) {
		t.Errorf("got %v", cpu)
	}
	for k, d := range want {
		if cpu[k] != d {
			t.Errorf("%v has %v, want %v", k, cpu[k], d)
		}
	}
	share(cpu, &profile.Profile{}, time.Hour) // nothing was seen
	if cpu[Key{"", "etcd"}] != 5*time.Second {
		t.Errorf("after a look without samples: %v", cpu)
	}
}

func TestOwned(t *testing.T) {
	function := func(name string) *profile.Location {
		return &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name}}}}
	}
	got := owned(&profile.Profile{
		SampleType: []*profile.ValueType{{Type: "inuse_objects"}, {Type: "inuse_space"}, {Type: "alloc_space"}},
		Sample: []*profile.Sample{
			{Value: []int64{1, 100, 9}, Location: []*profile.Location{function("runtime.mallocgc"), function("store.put"), function("dns.run")}},
			{Value: []int64{1, 20, 9}, Location: []*profile.Location{function("fmt.Sprint"), {Line: []profile.Line{{}}}, function("dns.run")}},
			{Value: []int64{1, 3, 9}, Location: []*profile.Location{function("main.main")}},
		},
	}, func(f string) string {
		pkg, _, _ := strings.Cut(f, ".")
		return map[string]string{"store": "etcd", "dns": "dns"}[pkg]
	})
	if len(got) != 2 || got["etcd"] != 100 || got["dns"] != 20 {
		t.Errorf("got %v", got)
	}
}

// One part works, another waits, and the work of the first is found.
func TestMeter(t *testing.T) {
	m := New(Config{Owner: func(string) string { return "" }, Logger: slog.New(slog.DiscardHandler)})
	defer m.end()
	busy, idle := Key{"node-1", "busy"}, Key{"node-1", "idle"}
	if got := m.Use(busy, idle); got.CPU != 0 {
		t.Errorf("before anything ran: %v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go Do(ctx, idle, func(ctx context.Context) { <-ctx.Done() })
	ran := make(chan error, 1)
	go func() {
		ran <- Run(ctx, busy, func(ctx context.Context) error {
			done := make(chan struct{})
			go func() { // which inherits the name
				for ctx.Err() == nil {
				}
				close(done)
			}()
			<-done
			return ctx.Err()
		})
	}()
	before, err := m.Rest(busy, idle)
	if err != nil || before.Memory <= 0 {
		t.Errorf("the rest is %v, %v", before, err)
	}
	for ctx.Err() == nil && m.Use(busy).CPU < 200*time.Millisecond {
		time.Sleep(time.Millisecond)
	}
	used, rest := m.Use(busy), must(m.Rest(busy, idle))
	cancel()
	if err := <-ran; err == nil {
		t.Error("the part has not ended by its context")
	}
	process, err := host.ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if used.CPU < 200*time.Millisecond || m.Use(idle).CPU > used.CPU/10 || rest.CPU+used.CPU > process.CPU+time.Second/10 || rest.CPU < before.CPU {
		t.Errorf("busy %v, idle %v, rest %v before and %v after, the process %v", used, m.Use(idle), before, rest, process)
	}
}

func must(u Use, err error) Use {
	if err != nil {
		panic(err)
	}
	return u
}
