package usage

import (
	"math"
	"strings"
	"testing"
	"time"
)

var epoch = time.Unix(1_700_000_000, 0)

// after is a time so many seconds after epoch.
func after(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

func TestBetween(t *testing.T) {
	first := reading{at: after(10), started: after(1), cpu: 5, memory: 100}
	for _, test := range []struct {
		name  string
		later reading
		want  rate
		ok    bool
	}{
		{"half a core", reading{at: after(14), started: after(1), cpu: 7, memory: 80}, rate{at: after(14), window: 4 * time.Second, cores: 0.5, memory: 80}, true},
		{"nothing", reading{at: after(11), started: after(1), cpu: 5, memory: 100}, rate{at: after(11), window: time.Second, memory: 100}, true},
		{"the same look", first, rate{}, false},
		{"an older look", reading{at: after(9), started: after(1), cpu: 6}, rate{}, false},
		{"another run", reading{at: after(14), started: after(12), cpu: 7}, rate{}, false},
		{"a counter that began anew", reading{at: after(14), started: after(1), cpu: 1}, rate{}, false},
	} {
		if have, ok := between(first, test.later); ok != test.ok || have != test.want {
			t.Errorf("%s: %+v, %v, want %+v, %v", test.name, have, ok, test.want, test.ok)
		}
	}
}

// steady is a sample of a node that uses one core, with one container that began
// at some second and uses half a core.
func steady(at, began float64) sample {
	s := sample{at: after(at), node: &reading{at: after(at), cpu: at}, pods: map[podKey]map[string]reading{}}
	if at >= began {
		s.pods[podKey{"default", "web"}] = map[string]reading{"main": {at: after(at), started: after(began), cpu: (at - began) / 2, memory: 4096}}
	}
	return s
}

func TestHistory(t *testing.T) {
	for _, test := range []struct {
		name           string
		times          []float64
		began          float64
		node, ofPod    time.Duration // windows, 0 for no rate
		longestHistory int
	}{
		{"one sample", []float64{0}, 0, 0, 0, 1},
		{"two at once", []float64{0, 1}, 0, time.Second, time.Second, 2},
		{"one every quarter of a minute", []float64{0, 15, 30, 45, 60}, 0, window, window, 3},
		{"one every five seconds", []float64{0, 5, 10, 15, 20, 25, 30}, 0, window, window, 5},
		{"a container that began before the last", []float64{0, 15, 30}, 20, window, 0, 3},
		{"a container that began before the last but one", []float64{0, 15, 30, 31}, 20, 16 * time.Second, time.Second, 3},
		{"one each tenth of a second", tenths(100), 0, 1500 * time.Millisecond, 1500 * time.Millisecond, maxSamples},
	} {
		var h history
		for _, at := range test.times {
			if h = h.add(steady(at, test.began)); len(h) > test.longestHistory {
				t.Errorf("%s: %d samples are kept", test.name, len(h))
			}
		}
		node, ok := h.nodeRate()
		if ok != (test.node > 0) || node.window != test.node || ok && math.Abs(node.cores-1) > 1e-9 {
			t.Errorf("%s: node %+v, %v, want a window of %v", test.name, node, ok, test.node)
		}
		rates, ok := h.podRates(podKey{"default", "web"})
		if main := rates["main"]; ok != (test.ofPod > 0) || main.window != test.ofPod || ok && math.Abs(main.cores-0.5) > 1e-9 {
			t.Errorf("%s: container %+v, %v, want a window of %v", test.name, main, ok, test.ofPod)
		}
	}
}

func tenths(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(i) / 10
	}
	return out
}

// TestPodsAreWhole checks that a Pod of which one container lacks a rate has none.
func TestPodsAreWhole(t *testing.T) {
	h := history{}.add(steady(0, 0)).add(steady(15, 0))
	key := podKey{"default", "web"}
	h[1].pods[key]["late"] = reading{at: after(15), started: after(14), cpu: 1}
	if rates, ok := h.podRates(key); ok {
		t.Errorf("a Pod with a container that was seen once has %v", rates)
	}
	if _, ok := h.podRates(podKey{"default", "other"}); ok {
		t.Error("a Pod that the node does not tell of has rates")
	}
}

const answer = `# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 4.5 1700000012345
container_cpu_usage_seconds_total{container="side",namespace="default",pod="web"} 1
container_cpu_usage_seconds_total{container="nomemory",namespace="default",pod="web"} 1 1700000012345
container_cpu_usage_seconds_total{container="mad",namespace="default",pod="web"} NaN 1700000012345
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="main",namespace="default",pod="web"} 1.048576e+06 1700000012345
container_memory_working_set_bytes{container="side",namespace="default",pod="web"} 7
container_memory_working_set_bytes{container="mad",namespace="default",pod="web"} 7 1700000012345
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="main",namespace="default",pod="web"} 1.7e+09
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 90 1700000012000
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 2.097152e+06 1700000012000
`

func TestParse(t *testing.T) {
	now := after(100)
	s, err := parse(strings.NewReader(answer), now)
	if err != nil {
		t.Fatal(err)
	}
	if want := (reading{at: after(12), cpu: 90, memory: 2 << 20}); s.node == nil || *s.node != want {
		t.Errorf("node %+v, want %+v", s.node, want)
	}
	containers := s.pods[podKey{"default", "web"}]
	if want := (reading{at: after(12.345), started: epoch, cpu: 4.5, memory: 1 << 20}); containers["main"] != want {
		t.Errorf("container main %+v, want %+v", containers["main"], want)
	}
	if want := (reading{at: now, cpu: 1, memory: 7}); containers["side"] != want {
		t.Errorf("container side %+v, want %+v", containers["side"], want)
	}
	if len(containers) != 2 || len(s.pods) != 1 {
		t.Errorf("containers %v", s.pods)
	}
	if _, err := parse(strings.NewReader("<html>\n"), now); err == nil {
		t.Error("a page is taken for metrics")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(answer)
	f.Add("container_start_time_seconds{container=\"a\",pod=\"b\",namespace=\"c\"} 1e300\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(strings.NewReader(text), epoch)
		if err != nil {
			return
		}
		h := history{s, s}
		h.nodeRate()
		for key, containers := range s.pods {
			for name, c := range containers {
				if !c.valid() {
					t.Errorf("%v %s: %+v", key, name, c)
				}
			}
			h.podRates(key)
		}
	})
}
