package ingress

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
)

// process runs a Process of a build until stop is called or the test ends.
func process(t *testing.T, o *Objects, socket, build string, at netip.Addr) (p *Process, stop func()) {
	t.Helper()
	p, err := NewProcess(ProcessConfig{
		Logger: testLogger(t), Socket: socket, Build: build, Objects: o, Addresses: []netip.Addr{at}, Listen: here{},
		Program: host.Confined{Path: "/proc/self/exe", Env: []string{roleVariable + "=" + roleHelper, buildVariable + "=" + build}, Output: os.Stderr},
		Facts:   func() Facts { return Facts{Node: "node-1", Options: DefaultOptions()} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, running(t, p.Run)
}

// helperPID finds the helper that this test has started.
func helperPID(t *testing.T, build string) int {
	t.Helper()
	pid := 0
	until(t, "there is a helper of build "+build, func() error {
		all, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return err
		}
		for _, f := range all {
			env, err := os.ReadFile(f)
			if err == nil && bytes.Contains(env, []byte(buildVariable+"="+build+"\x00")) {
				_, err = fmt.Sscanf(f, "/proc/%d/environ", &pid)
				return err
			}
		}
		return fmt.Errorf("there is none")
	})
	return pid
}

func (p *Process) ready() error {
	if s, known := p.State(); !known || !s.Ready {
		return fmt.Errorf("known %v, state %+v, error %v", known, s, p.Err())
	}
	return nil
}

// buildOf names a build that no other test has.
func buildOf(t *testing.T, s string) string { return fmt.Sprintf("%s-%s-%d", t.Name(), s, os.Getpid()) }

// endHelper ends the helpers of a build when the test ends.
func endHelper(t *testing.T, build string) {
	t.Cleanup(func() {
		all, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, f := range all {
			var pid int
			env, err := os.ReadFile(f)
			if err != nil || !bytes.Contains(env, []byte(buildVariable+"="+build+"\x00")) {
				continue
			}
			if _, err := fmt.Sscanf(f, "/proc/%d/environ", &pid); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
}

func TestHelperServesAndIsTakenOver(t *testing.T) {
	t.Parallel()
	w, at, socket, build := newWorld(t), address(), filepath.Join(t.TempDir(), "s"), buildOf(t, "1")
	endHelper(t, build)
	o, stopObjects := w.objects()
	p, stop := process(t, o, socket, build, at)
	until(t, "it is known that nobody needs a helper", func() error {
		if s, known := p.State(); !known || s.Ready || p.Err() != nil {
			return fmt.Errorf("known %v, %+v, %v", known, s, p.Err())
		}
		return nil
	})
	if _, _, err := get(at, "a.test", "/"); err == nil {
		t.Error("without an Ingress, somebody listens")
	}
	one, _ := backend(t, "one")
	two, _ := backend(t, "two")
	w.service("one", one)
	w.service("two", two)
	a := ingressOf("a", "a.test", "one")
	a.UID = "uid-a"
	w.ingress(a)
	answers(t, at, "a.test", 200, "one")
	answers(t, at, "b.test", 404, "")
	until(t, "it is ready", p.ready)
	name := types.NamespacedName{Namespace: "default", Name: "a"}
	until(t, "it says that it serves the Ingress", func() error {
		if !p.Serves(name, "uid-a") {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	if p.Serves(name, "another") || p.Serves(types.NamespacedName{Namespace: "default", Name: "b"}, "uid-b") {
		t.Error("it says that it serves what it was not told of")
	}
	pid := helperPID(t, build)

	// The server dies; what it told is served on, and the next one finds what has changed.
	stop()
	stopObjects()
	answers(t, at, "a.test", 200, "one")
	w.must(nil, w.client.NetworkingV1().Ingresses("default").Delete(t.Context(), "a", metav1.DeleteOptions{}))
	w.ingress(ingressOf("b", "b.test", "two"))
	answers(t, at, "a.test", 200, "one")
	o, _ = w.objects()
	p, _ = process(t, o, socket, build, at)
	answers(t, at, "b.test", 200, "two")
	answers(t, at, "a.test", 404, "")
	until(t, "it is ready", p.ready)
	if again := helperPID(t, build); again != pid {
		t.Errorf("process %d is followed by %d", pid, again)
	}

	// The helper dies: who connects meanwhile waits for the next one.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s, body, err := get(at, "b.test", "/"); err != nil || s != 200 || body != "two" {
		t.Errorf("after the helper's death: %d %q %v", s, body, err)
	}
	if again := helperPID(t, build); again == pid {
		t.Errorf("process %d is still there", pid)
	}
	until(t, "it is ready", p.ready)
}

// A helper of another version goes on with what it has begun, and nobody is refused.
func TestHelperIsReplaced(t *testing.T) {
	t.Parallel()
	w, at, socket := newWorld(t), address(), filepath.Join(t.TempDir(), "s")
	old, young := buildOf(t, "old"), buildOf(t, "new")
	endHelper(t, old)
	endHelper(t, young)
	o, _ := w.objects()
	one, finish := backend(t, "one")
	w.service("one", one)
	w.ingress(ingressOf("a", "a.test", "one"))
	_, stop := process(t, o, socket, old, at)
	answers(t, at, "a.test", 200, "one")
	pid := helperPID(t, old)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/slow", netip.AddrPortFrom(at, HTTPPort)), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "a.test"
	long, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Body.Close()
	if _, err := io.ReadFull(long.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}

	var asked, failed atomic.Int64
	load := running(t, func(ctx context.Context) error {
		for ctx.Err() == nil {
			asked.Add(1)
			if s, body, err := get(at, "a.test", "/"); err != nil || s != 200 || body != "one" {
				failed.Add(1)
				t.Logf("request %d: %d %q %v", asked.Load(), s, body, err)
			}
		}
		return nil
	})
	stop()
	p, _ := process(t, o, socket, young, at)
	until(t, "the next one is ready", p.ready)
	helperPID(t, young)
	before := asked.Load()
	until(t, "it has been asked", func() error {
		if asked.Load() < before+50 {
			return fmt.Errorf("%d requests", asked.Load())
		}
		return nil
	})
	load()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the old helper ended with a request open: %v", err)
	}
	finish()
	if rest, err := io.ReadAll(long.Body); err != nil || string(rest) != "one" {
		t.Errorf("the long answer ended with %q, %v", rest, err)
	}
	until(t, "the old helper has ended", func() error {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !bytes.Contains(stat, []byte(") Z ")) {
			return fmt.Errorf("process %d is there", pid)
		}
		return nil
	})
}

func TestHelperIsConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has rights to give up")
	}
	t.Parallel()
	w, at, build := newWorld(t), address(), buildOf(t, "1")
	endHelper(t, build)
	o, _ := w.objects()
	one, _ := backend(t, "one")
	w.service("one", one)
	w.ingress(ingressOf("a", "a.test", "one"))
	process(t, o, filepath.Join(t.TempDir(), "s"), build, at)
	answers(t, at, "a.test", 200, "one")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", helperPID(t, build)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !bytes.Contains(status, []byte(want)) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
}
