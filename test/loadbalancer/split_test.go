package loadbalancer

import (
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"minato/test/lab"
)

const (
	// splitFor is how long a node is cut off.
	splitFor = 5 * time.Second
	// expires is how long a node goes on without a process.
	expires = 30 * time.Second
	// unanswered is how long nobody may answer while nothing changes: a machine that is busy takes its time.
	unanswered = 500 * time.Millisecond
	// together is how long two may answer at most, when a node that was cut off takes over again: each node decides by itself.
	together = 300 * time.Millisecond
)

// cutAPI cuts a node off from the API server, whose packets are dropped from then on, or lets them through again.
func (n *node) cutAPI(t *testing.T, off bool) {
	t.Helper()
	if !off {
		lab.Command(t, n.ns, "nft", "delete", "table", "inet", "split")
		return
	}
	_, port, err := net.SplitHostPort(n.cluster.Address())
	if err != nil {
		t.Fatal(err)
	}
	lab.Command(t, n.ns, "nft", "add table inet split; add chain inet split in { type filter hook input priority 0; }; add rule inet split in tcp dport "+port+" drop")
}

// hold lets time pass while an address is asked for.
func hold(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test ends")
	}
}

// A node that is cut off from the API server, but not from the LAN, goes on alone: neither the others nor it have a reason
// to change anything, also when there are other Services meanwhile, and when it hears of these afterwards.
func (w *world) testSplitAPI(t *testing.T) {
	addrs := w.addresses("near")
	n, err := w.announcer("near", addrs)
	if err != nil {
		t.Fatal(err)
	}
	c := w.capture(addrs[lab.IPv4])
	c.await(t, n.name)
	n.cutAPI(t, true)
	healed := false
	defer func() {
		if !healed {
			n.cutAPI(t, false)
		}
	}()
	w.balanced("meanwhile", nil)
	hold(t, splitFor)
	for _, k := range lab.Kinds {
		w.reached("during the split", k, at(addrs[k.Family]), true, "p1", "p2", "p3")
	}
	n.cutAPI(t, false)
	healed = true
	late := w.addresses("meanwhile")
	w.settled("meanwhile", late, "p1", "p2", "p3")
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d questions: nobody answered for %s at most, two for %s", len(c.sent), c.nobody(), c.two())
	if got := c.order(); !slices.Equal(got, []string{n.name}) || c.nobody() > unanswered {
		t.Errorf("answered by %q, by nobody for %s; want %s all the time", got, c.nobody(), n.name)
	}
}

// A node that is cut off from the LAN, but not from the API server, is silent; another one answers, and no other, until the
// first one takes over again.
func (w *world) testSplitLAN(t *testing.T) {
	addrs := w.addresses("near")
	n, err := w.announcer("near", addrs)
	if err != nil {
		t.Fatal(err)
	}
	c := w.capture(addrs[lab.IPv4])
	c.await(t, n.name)
	w.cut(t, n.number, "down")
	healed := false
	defer func() {
		if !healed {
			w.cut(t, n.number, "up")
		}
	}()
	lab.Eventually(t, "another node answers", func() error {
		_, err := w.other(c, n)
		return err
	})
	hold(t, splitFor)
	second, err := w.other(c, n)
	if err != nil {
		t.Fatal(err)
	}
	w.cut(t, n.number, "up")
	healed = true
	c.await(t, n.name)
	hold(t, time.Second)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d questions: nobody answered for %s at most, two for %s", len(c.sent), c.nobody(), c.two())
	order := slices.Compact(slices.DeleteFunc(c.order(), func(by string) bool { return by == both(n.name, second) }))
	if !slices.Equal(order, []string{n.name, second, n.name}) {
		t.Errorf("answered by %q, one after the other; want %s, %s and %[2]s again", c.order(), n.name, second)
	}
	if c.two() > together || c.nobody() > died {
		t.Errorf("two answered for %s, and nobody for %s", c.two(), c.nobody())
	}
	w.settled("near", addrs, "p1", "p2", "p3")
}

// both is how an order names two at once.
func both(a, b string) string { return min(a, b) + " and " + max(a, b) }

// A node whose process is killed and stays dead announces its addresses on until it expires; then another node does.
func (w *world) testProcessStaysDead(t *testing.T) {
	addrs := w.addresses("near")
	n, err := w.announcer("near", addrs)
	if err != nil {
		t.Fatal(err)
	}
	c := w.capture(addrs[lab.IPv4])
	c.await(t, n.name)
	n.running.End(syscall.SIGKILL)
	killed := time.Now()
	hold(t, expires-7*time.Second) // it was last alive up to five seconds before its end
	if by := c.now(); !slices.Equal(by, []string{n.name}) {
		t.Errorf("%s after the end of the process answered by %q", time.Since(killed).Round(time.Second), by)
	}
	lab.Eventually(t, "another node answers", func() error {
		_, err := w.other(c, n)
		return err
	})
	t.Logf("another node answers alone %s after the end of the process", time.Since(killed).Round(time.Millisecond))
	second, err := w.other(c, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d questions: nobody answered for %s at most, two for %s", len(c.sent), c.nobody(), c.two())
	order := slices.Compact(slices.DeleteFunc(c.order(), func(by string) bool { return by == both(n.name, second) }))
	if !slices.Equal(order, []string{n.name, second}) || c.nobody() > unanswered || c.two() > time.Second {
		t.Errorf("answered by %q, by nobody for %s, by two for %s; want %s and then %s", c.order(), c.nobody(), c.two(), n.name, second)
	}
	n.start()
	n.waitHealthy()
	w.settled("near", addrs, "p1", "p2", "p3")
	lab.Eventually(t, "the node that is back announces again", func() error {
		if is, err := w.announcer("near", addrs); is != n {
			return fmt.Errorf("announced by %+v, %v", is, err)
		}
		return nil
	})
}

// other is the one node that answers in place of another.
func (w *world) other(c *capture, than *node) (string, error) {
	by := c.now()
	if len(by) != 1 || by[0] == than.name {
		return "", fmt.Errorf("answered by %v", by)
	}
	return by[0], nil
}
