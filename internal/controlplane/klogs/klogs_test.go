package klogs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

func TestRedirect(t *testing.T) {
	var first, second bytes.Buffer
	logger := func(b *bytes.Buffer, level slog.Level) *slog.Logger {
		return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: level}))
	}
	Redirect(logger(&first, slog.LevelDebug), func(error) {})
	klog.Info("plain")
	klog.Warning("careful")
	klog.ErrorS(errors.New("boom"), "failed", "object", "x")
	contextual := klog.FromContext(context.Background()).WithName("part").WithValues("key", "value")
	contextual.Info("structured")
	for _, want := range []string{
		"level=DEBUG msg=plain", "level=DEBUG msg=careful", "level=WARN msg=failed", "object=x", "boom",
		"level=DEBUG msg=structured", "key=value", "component=kubernetes",
	} {
		if !strings.Contains(first.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, first.String())
		}
	}

	// Loggers made before write to the new logger, too, which has a higher
	// level.
	Redirect(logger(&second, slog.LevelInfo), func(error) {})
	contextual.Info("silent")
	contextual.Error(errors.New("boom"), "later")
	if got := second.String(); !strings.Contains(got, "msg=later") || !strings.Contains(got, "key=value") || strings.Contains(got, "silent") {
		t.Errorf("after a second Redirect the log is:\n%s", got)
	}
	if strings.Contains(first.String(), "later") {
		t.Error("the first logger still gets messages")
	}
}

func TestFatalEndsGoroutineOnly(t *testing.T) {
	got := make(chan error, 1)
	Redirect(slog.New(slog.DiscardHandler), func(err error) { got <- err })
	done := make(chan bool, 1)
	go func() {
		returned := false
		defer func() { done <- returned }()
		klog.FlushAndExit(klog.ExitFlushTimeout, 3)
		returned = true
	}()
	if <-done {
		t.Error("the code after an exit was executed")
	}
	if err := <-got; !errors.Is(err, ErrFatal) || !strings.Contains(err.Error(), "3") {
		t.Errorf("the exit was reported as %v", err)
	}
}
