package main

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"minato/test/stock"
)

// Environment variables that set the length and the size of these tests; `make
// test-dns-outage` sets both.
const (
	outageVariable = "MINATO_DNS_OUTAGE" // how long the API server is gone, such as 60s
	burstVariable  = "MINATO_DNS_BURST"  // how many Services change at once
)

const (
	defaultOutage = 10 * time.Second
	defaultBurst  = "500"
	// shownWithin is how long a change may take to be answered.
	shownWithin = time.Second
	// moreMemory is what an outage or a burst may cost, in MiB.
	moreMemory = 32
)

func TestWithAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts kube-apiserver")
	}
	c, err := stock.Start(t.Context(), t.TempDir(), stock.Options{ServiceCIDR: "10.96.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	known := makeServices(t, c, "known", 100)
	t.Run("lameduck", func(t *testing.T) { testLameduck(t, c, known) })
	t.Run("burst", func(t *testing.T) { testBurst(t, c, known) })
	t.Run("killed", func(t *testing.T) {
		testOutage(t, c, known, c.KillAPIServer, func() error { return c.RestartAPIServer(t.Context()) })
	})
	t.Run("silent", func(t *testing.T) { testOutage(t, c, known, c.PauseAPIServer, c.ResumeAPIServer) })
}

// While the API server is gone, killed or silent, the server goes on answering
// from what it knows; once the API server is back, changes show as fast as
// ever.
func testOutage(t *testing.T, c *stock.Cluster, known map[string]string, away, end func() error) {
	outage := defaultOutage
	if text := os.Getenv(outageVariable); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", outageVariable, err)
		}
	}
	p := startProgram(t, c.Kubeconfig())
	asking := ask(p, known)
	defer asking.end(t)
	before := p.memory(t)
	if err := away(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, outage+time.Minute, "the outage is over", func() error {
		if err := p.get("/ready"); err != nil {
			t.Fatalf("not ready %s into the outage: %v", time.Since(began), err)
		}
		if time.Since(began) < outage {
			return fmt.Errorf("%s are to pass", outage)
		}
		return nil
	})
	if err := end(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for name, address := range makeServices(t, c, "after", 1) {
		eventually(t, shownWithin, "a new Service is answered", func() error { return p.answers(name, address) })
	}
	t.Logf("a Service made when the API server was back was answered %s after that", time.Since(back).Round(time.Millisecond))
	deleteServices(t, c, "after", 1)
	after := p.memory(t)
	t.Logf("memory: %.0f MiB before, %.0f MiB after", before, after)
	if after > before+moreMemory {
		t.Errorf("memory went from %.0f to %.0f MiB", before, after)
	}
}

// Many Services that come and go at once: no wrong answer about others meanwhile,
// and all of them are right soon after the last.
func testBurst(t *testing.T, c *stock.Cluster, known map[string]string) {
	text := os.Getenv(burstVariable)
	if text == "" {
		text = defaultBurst
	}
	var n int
	if _, err := fmt.Sscan(text, &n); err != nil || n < 1 {
		t.Fatalf("%s: %q is no number of Services", burstVariable, text)
	}
	p := startProgram(t, c.Kubeconfig())
	asking := ask(p, known)
	defer asking.end(t)
	// The first burst takes the memory that so many Services need; the second
	// must not take more.
	makeServices(t, c, "first", n)
	began := time.Now()
	deleteServices(t, c, "first", n)
	most := p.memory(t)
	made := makeServices(t, c, "second", n)
	t.Logf("%d Services deleted and %d made within %s", n, n, time.Since(began).Round(time.Millisecond))
	last := time.Now()
	for name, address := range made {
		eventually(t, shownWithin, name+" is answered", func() error { return p.answers(name, address) })
	}
	t.Logf("all were right %s after the last change", time.Since(last).Round(time.Millisecond))
	if _, err := p.address("first-0"); err == nil || err.Error() != "NXDOMAIN, 0 answers" {
		t.Errorf("a deleted Service is answered: %v", err)
	}
	after := p.memory(t)
	t.Logf("memory: %.0f MiB with the first burst, %.0f MiB with the second", most, after)
	if after > most+most/2+moreMemory {
		t.Errorf("memory went from %.0f to %.0f MiB", most, after)
	}
}

// A server that is told to stop answers on for its lameduck time, but is not ready.
func testLameduck(t *testing.T, c *stock.Cluster, known map[string]string) {
	p := startProgram(t, c.Kubeconfig(), "--lameduck", "2s")
	asking := ask(p, known)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	told := time.Now()
	eventually(t, time.Second, "it is not ready any more", func() error {
		if err := p.get("/ready"); err == nil {
			return fmt.Errorf("it still says so")
		}
		return nil
	})
	if err := p.get("/health"); err != nil {
		t.Errorf("it is to be killed at once: %v", err)
	}
	before := asking.answered.Load()
	eventually(t, 5*time.Second, "questions are answered on", func() error {
		if asking.answered.Load() < before+100 {
			return fmt.Errorf("%d are", asking.answered.Load()-before)
		}
		return nil
	})
	asking.end(t)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(told); took < 2*time.Second || took > 7*time.Second {
		t.Errorf("it ended after %s", took)
	}
}

func (p *program) answers(name, want string) error {
	got, err := p.address(name)
	if err == nil && got != want {
		err = fmt.Errorf("answered %s, want %s", got, want)
	}
	return err
}
