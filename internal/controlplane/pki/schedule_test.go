package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// setClock is a wall clock that tests set: timers do not notice.
type setClock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *setClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

// running opens an authority with one node and runs it until the test ends.
func running(t *testing.T, dir string, c *setClock, report func(error, time.Duration)) (a *Authority, renewals *int, stop func()) {
	t.Helper()
	a, err := Open(Config{Dir: dir, DNSNames: []string{"kubernetes"}, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.NodeServing("node-1", netip.MustParseAddr("172.30.0.11")); err != nil {
		t.Fatal(err)
	}
	if err := a.Renew(); err != nil { // tells of what Open has made, and so listeners see what follows alone
		t.Fatal(err)
	}
	renewals = new(int)
	a.OnRenewal(func() { *renewals++ })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx, report)
	}()
	return a, renewals, func() { cancel(); <-done }
}

// validAt fails unless all certificates of a directory are valid at now.
func validAt(t *testing.T, dir string, now time.Time) {
	t.Helper()
	all, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 7 {
		t.Errorf("there are %d certificates, want 2 CAs, 4 of the control plane and 1 of a node: %v", len(all), all)
	}
	for _, c := range all {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			t.Errorf("%s is valid from %v to %v, and it is %v", c.Name, c.NotBefore, c.NotAfter, now)
		}
	}
}

// TestRunForYears has a server run for twelve years.
func TestRunForYears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, c := t.TempDir(), &setClock{}
		a, renewals, stop := running(t, dir, c, func(err error, _ time.Duration) { t.Error(err) })
		defer stop()
		first := a.CABundle()
		for range 12 * 4 {
			c.jump(leafLifetime/4 - 2*lookEvery) // three months, in which nothing happens but at the end
			pass(2 * lookEvery)
			synctest.Wait()
			validAt(t, dir, c.Now())
		}
		// Leaves after eight months, which is seen at nine, and a CA after nine years.
		if *renewals < 16 || *renewals > 20 {
			t.Errorf("something was renewed %d times in twelve years", *renewals)
		}
		if bytes.Equal(first, a.CABundle()) {
			t.Error("the CA's certificate was not renewed")
		}
	})
}

// TestRunAfterJumps sets the clock: two years on, and back again, and to before the cluster was made.
func TestRunAfterJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, c := t.TempDir(), &setClock{}
		a, renewals, stop := running(t, dir, c, func(err error, _ time.Duration) { t.Error(err) })
		defer stop()
		for i, jump := range []time.Duration{2 * leafLifetime, -2 * leafLifetime, -30 * leafLifetime, 30 * leafLifetime, 11 * 365 * 24 * time.Hour} {
			before := a.Admin().Cert
			c.jump(jump)
			pass(lookEvery + time.Second)
			synctest.Wait()
			validAt(t, dir, c.Now())
			if bytes.Equal(before, a.Admin().Cert) {
				t.Errorf("jump %d: the administrator's certificate was kept", i)
			}
			if *renewals != i+1 {
				t.Errorf("jump %d: something was renewed %d times", i, *renewals)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(a.CABundle())
			if _, err := cert(t, a.Admin().Cert).Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: c.Now()}); err != nil {
				t.Errorf("jump %d: %v", i, err)
			}
		}
		// A clock that is corrected by less than what certificates are dated back changes nothing.
		c.jump(-backdate / 2)
		pass(2 * lookEvery)
		synctest.Wait()
		if *renewals != 5 {
			t.Error("half an hour less made new certificates")
		}
	})
}

// TestRunTriesAgain has the directory fail for a while.
func TestRunTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, c := t.TempDir(), &setClock{}
		var retries []time.Duration
		a, renewals, stop := running(t, dir, c, func(err error, retry time.Duration) {
			if err == nil {
				t.Error("a failure without an error was reported")
			}
			retries = append(retries, retry)
		})
		defer stop()
		// A directory in the place of the file cannot be replaced, whoever runs the test.
		admin := filepath.Join(dir, "admin.key")
		if err := errors.Join(os.Remove(admin), os.MkdirAll(filepath.Join(admin, "in-the-way"), 0o700)); err != nil {
			t.Fatal(err)
		}
		before := a.Admin().Cert
		c.jump(leafLifetime * 3 / 4)
		pass(lookEvery + 4*time.Hour)
		synctest.Wait()
		if len(retries) < 7 || len(retries) > 11 || retries[0] != time.Minute || retries[len(retries)-1] != lastRetry {
			t.Errorf("failures were reported with these pauses: %v", retries)
		}
		if !bytes.Equal(before, a.Admin().Cert) {
			t.Error("a certificate that is in no file is in use")
		}
		if err := os.RemoveAll(admin); err != nil {
			t.Fatal(err)
		}
		pass(lastRetry)
		synctest.Wait()
		if bytes.Equal(before, a.Admin().Cert) || *renewals == 0 {
			t.Error("the certificate was not renewed once it could be")
		}
		validAt(t, dir, c.Now())
	})
}

func TestPlanOfShortLives(t *testing.T) {
	now := time.Now()
	var p plan
	p.add(&x509.Certificate{NotBefore: now, NotAfter: now.Add(30 * time.Second)}, leafShare)
	p.add(&x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLifetime)}, caShare)
	if got := p.pause(now); got != 20*time.Second {
		t.Errorf("the pause is %v, want that until a third of the shorter life is left", got)
	}
	if p.calls(now.Add(19*time.Second)) || !p.calls(now.Add(21*time.Second)) || !p.calls(now.Add(-time.Second)) {
		t.Error("the renewal is not planned for the last third of the shorter life")
	}
	if got := p.pause(now.Add(time.Minute)); got != lookSoonest {
		t.Errorf("the pause of what is due is %v", got)
	}
}

func TestReadDirNamesWhatIsBroken(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, &clock{time.Now()})
	if err := os.WriteFile(filepath.Join(dir, "admin.crt"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := ReadDir(dir)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("admin.crt")) || len(all) != 5 {
		t.Errorf("got %d certificates and the error %v", len(all), err)
	}
	if !all[0].CA || !all[1].CA || all[2].CA {
		t.Error("CAs do not come first")
	}
	if _, err := ReadDir(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that there is not: %v", err)
	}
}

func TestIssuedToAdmin(t *testing.T) {
	c := &clock{time.Now()}
	a, other := open(t, t.TempDir(), c), open(t, t.TempDir(), c)
	node, err := a.NodeClient("node-1")
	if err != nil {
		t.Fatal(err)
	}
	old := a.Admin()
	c.now = c.now.Add(caLifetime - time.Hour) // all is renewed, the CA included
	if err := a.Renew(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		pair Pair
		want bool
	}{
		"now":             {a.Admin(), true},
		"earlier":         {old, true},
		"a node":          {node, false},
		"another one":     {other.Admin(), false},
		"no PEM":          {Pair{Cert: []byte("x"), Key: old.Key}, false},
		"without the key": {Pair{Cert: old.Cert}, false},
		"with another":    {Pair{Cert: old.Cert, Key: a.Admin().Key}, false},
	} {
		if got := a.IssuedToAdmin(test.pair.Cert, test.pair.Key); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// Renewals come from the schedule and from who has seen that the clock was set, and
// listeners hear of one after the other.
func TestListenersAreToldOfOneRenewalAtATime(t *testing.T) {
	a := open(t, t.TempDir(), &clock{time.Now()})
	var inside, calls atomic.Int32
	a.OnRenewal(func() {
		if inside.Add(1) > 1 {
			t.Error("a listener is told while it is told")
		}
		for range 1000 {
			runtime.Gosched()
		}
		calls.Add(1)
		inside.Add(-1)
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(a.tell)
	}
	wg.Wait()
	if n := calls.Load(); n != 8 {
		t.Errorf("it was told %d times", n)
	}
}

// pass has time pass that is not the machine's: that of a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }
