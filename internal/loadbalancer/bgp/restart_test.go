package bgp

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// watchRoute looks at a route all the time until the function that it returns is called, which says when the route was
// missing first, and how often it was looked at.
func (b *bird) watchRoute(prefix string) (end func() (missing string, looks int)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var missing string
	looks := 0
	go func() {
		defer close(done)
		for begin := time.Now(); ctx.Err() == nil; looks++ {
			if out, _ := b.try("show route " + prefix); !strings.Contains(out, prefix) && missing == "" && ctx.Err() == nil {
				missing = fmt.Sprintf("after %v: %s", time.Since(begin), out)
			}
		}
	}()
	b.t.Cleanup(func() { cancel(); <-done })
	return func() (string, int) { cancel(); <-done; return missing, looks }
}

func TestGracefulRestart(t *testing.T) {
	for _, graceful := range []bool{true, false} {
		t.Run(fmt.Sprint(graceful), func(t *testing.T) {
			l := newLab(t, "bird")
			b := l.bird("protocol bgp node { local as 65010; neighbor {node4} as 64500; ipv4 { import all; export none; }; ipv6 { import all; export none; }; }\n")
			p := l.peer4Of("bird", route("192.0.2.1/32"), Route{Prefix: route("2001:db8::1/128").Prefix, NextHop: l.node6})
			p.PeerASN, p.GracefulRestart, p.DualStack = 65010, graceful, true
			first := newTestLocal(t)
			stop := runSpeaker(t, first)
			apply(t, first, p)
			session(t, first, "bird", 15*time.Second, "up", isUp)
			b.hasRoute("192.0.2.1/32")
			b.hasRoute("2001:db8::1/128")
			end, end6 := b.watchRoute("192.0.2.1/32"), b.watchRoute("2001:db8::1/128")
			stop()
			if !graceful {
				b.lacksRoute("192.0.2.1/32")
			}
			// The next process has another route, and one less.
			p.Routes = []Route{p.Routes[0], route("192.0.2.2/32"), p.Routes[1]}
			second := newTestLocal(t)
			runSpeaker(t, second)
			apply(t, second, p)
			session(t, second, "bird", 15*time.Second, "up again", isUp)
			b.hasRoute("192.0.2.2/32")
			b.hasRoute("192.0.2.1/32")
			missing, looks := end()
			missing6, looks6 := end6()
			if graceful && missing+missing6 != "" {
				t.Errorf("the routes were away during the restart: %s%s", missing, missing6)
			}
			if !graceful && missing == "" {
				t.Error("the route stayed without graceful restart; this test shows nothing")
			}
			if looks < 20 || looks6 < 20 {
				t.Errorf("looked at the routes only %d and %d times", looks, looks6)
			}
		})
	}
}

// After a restart the peer forgets what it is not told again.
func TestGracefulRestartForgets(t *testing.T) {
	l := newLab(t, "bird")
	b := l.bird("protocol bgp node { local as 65010; neighbor {node4} as 64500; ipv4 { import all; export none; }; }\n")
	p := l.peer4Of("bird", route("192.0.2.1/32"), route("192.0.2.2/32"))
	p.PeerASN, p.GracefulRestart = 65010, true
	first := newTestLocal(t)
	stop := runSpeaker(t, first)
	apply(t, first, p)
	session(t, first, "bird", 15*time.Second, "up", isUp)
	b.hasRoute("192.0.2.2/32")
	stop()
	b.hasRoute("192.0.2.2/32")
	p.Routes = p.Routes[:1]
	second := newTestLocal(t)
	runSpeaker(t, second)
	apply(t, second, p)
	session(t, second, "bird", 15*time.Second, "up again", isUp)
	b.lacksRoute("192.0.2.2/32")
	b.hasRoute("192.0.2.1/32")
	// A speaker that leaves for good takes its routes along.
	apply(t, second)
	b.lacksRoute("192.0.2.1/32")
}
