package image

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	testclock "k8s.io/utils/clock/testing"
)

// Images that nobody uses go; those in use, new ones and those that were loaded by
// hand stay.
func TestRemoveUnused(t *testing.T) {
	s := openStore(t)
	reg := startRegistry(t, map[string]v1.Image{
		"a:v1": makeImage(t, "a", makeTar(t, file("f", "a"))), "b:v1": makeImage(t, "b", makeTar(t, file("f", "b"))),
	})
	svc := newTestService(t, s)
	for _, name := range []string{"a:v1", "b:v1"} {
		if _, err := svc.PullImage(t.Context(), spec(reg.host+"/"+name), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"mine": makeImage(t, "m", makeTar(t, file("f", "m")))}), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pin("container-1", reg.host+"/b:v1"); err != nil {
		t.Fatal(err)
	}
	clk := testclock.NewFakeClock(time.Now())
	c := NewCollector(CollectorConfig{Store: s, Policy: Policy{High: 100, Low: 80, MinAge: time.Minute}, Clock: clk, Logger: slog.New(slog.DiscardHandler)})
	has := func(ref string, want bool) {
		t.Helper()
		if _, err := s.Get(ref); (err == nil) != want || err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want it here: %t", ref, err, want)
		}
	}
	if err := c.RemoveUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(reg.host+"/a:v1", true) // it is new
	clk.Step(2 * time.Minute)
	if err := c.RemoveUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(reg.host+"/a:v1", false)
	has(reg.host+"/b:v1", true)
	has("mine", true)
	if err := s.Unpin("container-1"); err != nil {
		t.Fatal(err)
	}
	// A disk below its threshold loses nothing; an image that was not used for too
	// long goes anyway.
	if err := c.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(reg.host+"/b:v1", true)
	c.cfg.Policy.MaxAge = time.Hour
	clk.Step(59 * time.Minute)
	if err := c.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(reg.host+"/b:v1", true)
	clk.Step(time.Hour)
	if err := c.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(reg.host+"/b:v1", false)
	has("mine", true)
}
