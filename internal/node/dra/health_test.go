package dra

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	healthapi "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"

	"minato/internal/node/plugins"
)

const (
	healthy   = healthapi.HealthStatus_HEALTHY
	unhealthy = healthapi.HealthStatus_UNHEALTHY
)

func says(device string, h healthapi.HealthStatus, message string, seconds int64) *healthapi.DeviceHealth {
	return &healthapi.DeviceHealth{
		Device: &healthapi.DeviceIdentifier{PoolName: "p", DeviceName: device}, Health: h, Message: message, HealthCheckTimeoutSeconds: seconds,
	}
}

func TestStates(t *testing.T) {
	now := time.Unix(1000, 0)
	before, _ := states(nil).with([]*healthapi.DeviceHealth{
		says("a", healthy, "", 0), says("b", unhealthy, "hot", 10), says("c", healthy, "", -5), {Health: healthy}, nil,
	}, now)
	if len(before) != 3 || !before.end().Equal(now.Add(10*time.Second)) || !before[place{"p", "c"}].until.Equal(now.Add(healthDefault)) {
		t.Fatalf("%v", before)
	}
	for name, c := range map[string]struct {
		devices []*healthapi.DeviceHealth
		after   time.Duration
		want    map[string]v1.ResourceHealthStatus
		changed []string
	}{
		"nothing has changed, and holds for longer": {
			[]*healthapi.DeviceHealth{says("a", healthy, "", 0), says("b", unhealthy, "hot", 100), says("c", healthy, "", 0)}, time.Second,
			map[string]v1.ResourceHealthStatus{"a": "Healthy", "b": "Unhealthy", "c": "Healthy"}, nil,
		},
		"another message":        {[]*healthapi.DeviceHealth{says("b", unhealthy, "hotter", 0)}, time.Second, map[string]v1.ResourceHealthStatus{"a": "Healthy", "b": "Unhealthy", "c": "Healthy"}, []string{"b"}},
		"otherwise, and unknown": {[]*healthapi.DeviceHealth{says("b", healthy, "hot", 0), says("a", 0, "", 0)}, time.Second, map[string]v1.ResourceHealthStatus{"a": "Unknown", "b": "Healthy", "c": "Healthy"}, []string{"a", "b"}},
		"one's time is over":     {nil, 10 * time.Second, map[string]v1.ResourceHealthStatus{"a": "Healthy", "c": "Healthy"}, []string{"b"}},
		"all time is over":       {[]*healthapi.DeviceHealth{says("d", 7, "", 0)}, time.Hour, map[string]v1.ResourceHealthStatus{"d": "Unknown"}, []string{"a", "b", "c", "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, changed := before.with(c.devices, now.Add(c.after))
			if len(got) != len(c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			for device, want := range c.want {
				if is := got[place{"p", device}]; is.health != want {
					t.Errorf("%s is %q, want %q", device, is.health, want)
				}
			}
			var names []string
			for _, at := range changed {
				names = append(names, at.device)
			}
			if slices.Sort(names); !slices.Equal(names, c.changed) {
				t.Errorf("%q are otherwise, want %q", names, c.changed)
			}
		})
	}
	if end := (states)(nil).end(); !end.IsZero() {
		t.Errorf("no states end at %v", end)
	}
	forever, _ := states(nil).with([]*healthapi.DeviceHealth{says("a", healthy, "", 1<<62)}, now)
	if end := forever.end(); !end.Equal(now.Add(healthLongest)) {
		t.Errorf("a state holds until %v", end)
	}
}

// What the node keeps of devices that are not in the last message has a bound.
func TestManyDevices(t *testing.T) {
	var first, second []*healthapi.DeviceHealth
	for i := range healthMost {
		first = append(first, says(fmt.Sprint("d", i), healthy, "", 3600))
	}
	second = append(second, says("new", healthy, "", 0))
	s, _ := states(nil).with(first, time.Unix(0, 0))
	if s, _ = s.with(second, time.Unix(1, 0)); len(s) != 1 {
		t.Errorf("%d devices are kept", len(s))
	}
}

func TestShortened(t *testing.T) {
	most := v1.ResourceHealthMessageMaxLength
	for _, c := range []struct{ message, want string }{
		{"", ""},
		{strings.Repeat("a", most), strings.Repeat("a", most)},
		{strings.Repeat("a", most+1), strings.Repeat("a", most-3) + "..."},
		{strings.Repeat("é", most), strings.Repeat("é", (most-3)/2) + "..."},
	} {
		if got := shortened(c.message); got != c.want {
			t.Errorf("a message of %d bytes becomes %q", len(c.message), got)
		}
	}
}

// healthDriver is a driver that also tells how its devices are.
type healthDriver struct {
	healthapi.UnimplementedDRAResourceHealthServer
	messages chan []*healthapi.DeviceHealth
}

func (d *healthDriver) NodeWatchResources(_ *healthapi.NodeWatchResourcesRequest, s grpc.ServerStreamingServer[healthapi.NodeWatchResourcesResponse]) error {
	for {
		select {
		case <-s.Context().Done():
			return nil
		case devices, ok := <-d.messages:
			if !ok {
				return nil
			}
			if err := s.Send(&healthapi.NodeWatchResourcesResponse{Devices: devices}); err != nil {
				return err
			}
		}
	}
}

// serveHealth serves nothing but a driver's health, at a socket of the node.
func (b *bench) serveHealth(socket string) (*healthDriver, *grpc.Server) {
	b.Helper()
	l, err := b.root.ListenUnix(socket, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	d, s := &healthDriver{messages: make(chan []*healthapi.DeviceHealth)}, grpc.NewServer()
	healthapi.RegisterDRAResourceHealthServer(s, d)
	go s.Serve(l)
	b.Cleanup(s.Stop)
	return d, s
}

// woken counts for which Pods the node has been woken.
type woken struct {
	mu   sync.Mutex
	pods map[types.UID]int
}

func (w *woken) wake(pod types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods[pod]++
}

func (w *woken) count(pod types.UID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pods[pod]
}

func send(t *testing.T, d *healthDriver, devices ...*healthapi.DeviceHealth) {
	t.Helper()
	select {
	case d.messages <- devices:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody asks the driver how its devices are within 20 seconds")
	}
}

// A container's devices are told of as the driver tells it, until that is over, the
// driver is silent, or gone; Pods with other devices are left alone.
func TestHealth(t *testing.T) {
	b := newBench(t, newClaim("c", "one"), newClaim("other", "two"))
	w := &woken{pods: map[types.UID]int{}}
	b.m.cfg.Wake = w.wake
	pod, other := newPod("one", "c", v1.ResourceClaim{Name: "c"}, v1.ResourceClaim{Name: "c", Request: "b"}), newPod("two", "other", v1.ResourceClaim{Name: "c"})
	b.register()
	for _, p := range []*v1.Pod{pod, other} {
		if err := b.m.Prepare(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	b.m.mu.Lock()
	for i := range b.m.ledger[key{"ns", "other"}].Drivers[driverName] {
		b.m.ledger[key{"ns", "other"}].Drivers[driverName][i].Pool = "elsewhere"
	}
	b.m.mu.Unlock()
	is := func(a, b2, message string) {
		t.Helper()
		var got []v1.ResourceStatus
		ok := func() bool {
			got = b.m.Status(pod, &pod.Spec.Containers[0])
			if len(got) != 2 || got[0].Name != "claim:c" || got[1].Name != "claim:c/b" || len(got[0].Resources) != 2 || len(got[1].Resources) != 1 {
				return false
			}
			one, two := got[0].Resources[0], got[1].Resources[0]
			told := ""
			if one.Message != nil {
				told = *one.Message
			}
			return one.ResourceID == "x.y/z=c-a" && two.ResourceID == "x.y/z=c-b" && string(one.Health) == a && string(two.Health) == b2 && told == message && two.Message == nil
		}
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("after 20 seconds the devices are %+v, want %s and %s, %q", got, a, b2, message)
			}
		}
	}
	is("Unknown", "Unknown", "") // the driver does not serve it
	second, server := b.serveHealth("/second.sock")
	p := plugins.Plugin{Name: driverName, Endpoint: "/second.sock", Versions: []string{"v1.DRAPlugin", "v1alpha1.DRAResourceHealth"}, Socket: "/reg2.sock"}
	if err := b.m.Register(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	send(t, second, says("d1", unhealthy, "hot", 3600), says("d2", healthy, "", 3600))
	is("Unhealthy", "Healthy", "hot")
	send(t, second, says("d2", healthy, "", 1))
	is("Unhealthy", "Unknown", "hot") // a second later, though the driver says nothing
	for deadline := time.Now().Add(20 * time.Second); w.count("one") < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("within 20 seconds the Pod is looked at %d times, want 2: for the message, and when its time is over", w.count("one"))
		}
	}
	send(t, second, says("d1", healthy, "", 0))
	is("Healthy", "Unknown", "")
	server.Stop() // and the socket is still registered
	is("Unknown", "Unknown", "")
	third, _ := b.serveHealth("/third.sock")
	p.Endpoint, p.Socket = "/third.sock", "/reg3.sock"
	if err := b.m.Register(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	send(t, third, says("d1", healthy, "", 0), says("d2", unhealthy, "", 0))
	is("Healthy", "Unhealthy", "")
	b.m.Deregister(p)
	is("Unknown", "Unknown", "")
	if n := w.count("two"); n != 0 {
		t.Errorf("a Pod with other devices is looked at %d times", n)
	}
	if got := b.m.Status(newPod("stranger", "c", v1.ResourceClaim{Name: "c"}), &pod.Spec.Containers[0]); len(got) != 0 {
		t.Errorf("a Pod that the claim is not prepared for has %v", got)
	}
}

// A device that the driver gives no CDI name is called by its place, and one that two
// requests share is told of once.
func TestNamesOfDevices(t *testing.T) {
	b := newBench(t)
	c := &claim{Namespace: "ns", Name: "c", UID: "u", Pods: []types.UID{"p"}, Drivers: map[string][]device{driverName: {
		{Pool: "p", Name: "d", Requests: []string{"a"}}, {Pool: "p", Name: "d", Requests: []string{"a"}}, {Pool: "p", Name: "e", Requests: []string{"b"}},
	}}}
	b.m.ledger[c.key()] = c
	p := newPod("p", "c", v1.ResourceClaim{Name: "c", Request: "a/sub"}, v1.ResourceClaim{Name: "nobody"})
	got := b.m.Status(p, &p.Spec.Containers[0])
	if len(got) != 1 || got[0].Name != "claim:c/a/sub" || len(got[0].Resources) != 1 || got[0].Resources[0].ResourceID != driverName+"/p/d" {
		t.Errorf("%+v", got)
	}
}
