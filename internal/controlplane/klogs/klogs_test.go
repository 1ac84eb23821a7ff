package klogs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/wsstream"
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

// lines is a log that several goroutines write to.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// pcOf is a place in the code of a function.
func pcOf(f any) uintptr { return reflect.ValueOf(f).Pointer() + 1 }

// That the API server has closed the connection of a session is no error, and nothing
// else is taken for that.
func TestEndOfSession(t *testing.T) {
	closed := &net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}
	session := pcOf((*wsstream.Conn).Close)
	for _, c := range []struct {
		name  string
		pc    uintptr
		level slog.Level
		attrs []any
		want  slog.Level
	}{
		{"the end", session, slog.LevelError, []any{"err", closed}, slog.LevelDebug},
		{"the end, among other attributes", session, slog.LevelError, []any{"a", 1, "err", closed, "b", 2}, slog.LevelDebug},
		{"another error", session, slog.LevelError, []any{"err", io.ErrUnexpectedEOF}, slog.LevelWarn},
		{"its text", session, slog.LevelError, []any{"err", closed.Error()}, slog.LevelWarn},
		{"no error", session, slog.LevelError, []any{"receivedLength", 3}, slog.LevelWarn},
		{"somebody else's connection", pcOf((*bytes.Buffer).Write), slog.LevelError, []any{"err", closed}, slog.LevelWarn},
		{"more than that", session, slog.LevelInfo, []any{"err", closed}, slog.LevelDebug},
	} {
		for _, least := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
			log := &lines{}
			Redirect(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: least})), func(error) {})
			r := slog.NewRecord(time.Now(), c.level, "Error on socket receive", c.pc)
			r.Add(c.attrs...)
			// As a logger has it.
			if h := (quiet{}); h.Enabled(t.Context(), c.level) {
				if err := h.Handle(t.Context(), r); err != nil {
					t.Error(err)
				}
			}
			want := "level=" + c.want.String()
			if c.want < least {
				want = ""
			}
			if got := log.String(); !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("%s, from %s on: logged %q, want %q", c.name, least, got, want)
			}
		}
	}
}

// The rule fits what is logged when a server closes the connection of a session.
func TestSession(t *testing.T) {
	log := &lines{}
	Redirect(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), func(error) {})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := wsstream.NewConn(wsstream.NewDefaultChannelProtocols([]wsstream.ChannelType{wsstream.ReadWriteChannel}))
		if _, _, err := conn.Open(w, r); err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}))
	defer server.Close()
	ws, err := websocket.Dial("ws"+strings.TrimPrefix(server.URL, "http"), wsstream.ChannelWebSocketProtocol, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "Error on socket receive"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is logged any more: the rule may go")
		}
	}
	if got := log.String(); !strings.Contains(got, `level=DEBUG msg="Error on socket receive"`) || strings.Contains(got, "level=WARN") {
		t.Errorf("the log is %q", got)
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
