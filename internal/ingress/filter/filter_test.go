package filter

import (
	"bytes"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestNew(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	for name, cfg := range map[string]Config{
		"no logger": {}, "negative": {Logger: logger, LimitEntries: -1}, "negative verifications": {Logger: logger, Verifications: -1},
		"no random": {Logger: logger, Random: iotest.ErrReader(errors.New("none"))}, "negative mirrors": {Logger: logger, MirrorQueue: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f, err := New(Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	h := reflect.ValueOf(f.Hooks())
	for i := range h.NumField() {
		if h.Field(i).IsNil() {
			t.Errorf("the hook %s is nil", h.Type().Field(i).Name)
		}
	}
}

// What goes wrong with authentication is told, at most once a second, and without what clients keep secret.
func TestWarnings(t *testing.T) {
	var out bytes.Buffer
	b := newBed(t).on("h.test /", "auth-url", "http://$http_x_auth/")
	b.cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
	for range 5 {
		b.ask("GET", "http://h.test/?token=secret", "Authorization: Bearer secret", "X-Auth: evil.test").want(t, 500, "")
	}
	b.now = b.now.Add(time.Second)
	b.ask("GET", "http://h.test/").want(t, 500, "")
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, out.String())
	}
	if s := out.String(); strings.Contains(s, "secret") || strings.Contains(s, "evil.test") || !strings.Contains(s, "ingress=weba") {
		t.Errorf("it says %s", s)
	}
}
