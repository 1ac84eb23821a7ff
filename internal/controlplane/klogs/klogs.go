// Package klogs sends what Kubernetes' packages log through klog to a slog
// logger, one level quieter than they mean it (warnings reach slog as
// information, so they end up as debug output too): their errors are mostly work
// that is retried, and their information is meant for other developers. One thing
// is logged as debug output that they call an error (see endOfSession).
//
// klog has one output and one way to exit per process, so this package has one
// of each too. It must not log anything itself. It may import klog and the standard library.
package klogs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/klog/v2"
)

// sink is where klog's output goes at present, fatal who learns of an exit.
// klog's own settings may be changed only while nothing logs, so they are made
// once and point here.
var (
	sink    atomic.Pointer[slog.Logger]
	fatal   atomic.Pointer[func(error)]
	install sync.Once
)

// ErrFatal says that a part of Kubernetes wanted to end the process.
var ErrFatal = errors.New("a part of Kubernetes gave up; the log says why")

// Redirect sends klog's output to l from now on, each line with the program of
// Kubernetes that has the code it comes from as the attribute component. Where Kubernetes would end the
// process, which it does when a hook fails, onFatal is called with an error that
// wraps ErrFatal, and the goroutine ends.
func Redirect(l *slog.Logger, onFatal func(error)) {
	Prepare(l)
	fatal.Store(&onFatal)
}

// Prepare sends klog's output to l, as Redirect does, and has to be called before
// anything of Kubernetes runs: klog's settings are read without a lock, so that a
// client that is made at the same moment as they change ends the process.
func Prepare(l *slog.Logger) {
	sink.Store(l)
	install.Do(func() {
		logged := func(err error) { sink.Load().Error("A part of Kubernetes gave up before it was started", "error", err) }
		fatal.CompareAndSwap(nil, &logged)
		klog.SetSlogLogger(slog.New(quiet{}))
		klog.OsExit = func(code int) {
			(*fatal.Load())(fmt.Errorf("%w (exit code %d)", ErrFatal, code))
			runtime.Goexit()
		}
	})
}

// quiet is the handler klog writes to. Attributes and groups are kept here,
// since the logger behind it may change.
type quiet struct {
	wrap func(slog.Handler) slog.Handler
}

func demote(l slog.Level) slog.Level {
	if l > slog.LevelDebug {
		return l - 4
	}
	return l
}

func (quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return sink.Load().Handler().Enabled(ctx, demote(l))
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = demote(r.Level)
	if r.Level > slog.LevelDebug && endOfSession(r) {
		r.Level = slog.LevelDebug
		if !sink.Load().Handler().Enabled(ctx, r.Level) {
			return nil
		}
	}
	h := sink.Load().Handler().WithAttrs([]slog.Attr{slog.String("component", component(r.PC))})
	if q.wrap != nil {
		h = q.wrap(h)
	}
	return h.Handle(ctx, r)
}

// endOfSession tells whether a record is of the end of a session of `kubectl exec`,
// attach or port-forward: the API server closes its own connection then, and the
// goroutine that reads from it calls that an error. Any other error of such a
// connection is none of these.
func endOfSession(r slog.Record) bool {
	if !strings.HasPrefix(function(r.PC), "k8s.io/streaming/pkg/httpstream/wsstream.") {
		return false
	}
	closed := false
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		closed = ok && errors.Is(err, net.ErrClosed)
		return !closed
	})
	return closed
}

// programs are the places of the code of Kubernetes' programs; the first that
// matches counts.
var programs = []struct{ code, component string }{
	{"k8s.io/kubernetes/pkg/scheduler/", "kube-scheduler"},
	{"k8s.io/kubernetes/pkg/scheduler.", "kube-scheduler"},
	{"k8s.io/kubernetes/pkg/controlplane/", "kube-apiserver"},
	{"k8s.io/kubernetes/pkg/controller/", "kube-controller-manager"},
	{"k8s.io/kubernetes/cmd/kube-controller-manager/", "kube-controller-manager"},
	{"k8s.io/controller-manager/", "kube-controller-manager"},
	{"k8s.io/apiserver/", "kube-apiserver"},
	{"k8s.io/apiextensions-apiserver/", "kube-apiserver"},
	{"k8s.io/kube-aggregator/", "kube-apiserver"},
	{"k8s.io/kubernetes/pkg/registry/", "kube-apiserver"},
	{"k8s.io/kubernetes/pkg/kubeapiserver/", "kube-apiserver"},
	{"k8s.io/kubernetes/plugin/", "kube-apiserver"},
}

// component names the program whose code logged; code that several of them share,
// such as clients, is nobody's in particular.
func component(pc uintptr) string {
	code := function(pc)
	for _, p := range programs {
		if strings.HasPrefix(code, p.code) {
			return p.component
		}
	}
	return "kubernetes"
}

// function is the name of the function that logged, with its package's path.
func function(pc uintptr) string {
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	return frame.Function
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return q.then(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (q quiet) WithGroup(name string) slog.Handler {
	return q.then(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (q quiet) then(f func(slog.Handler) slog.Handler) slog.Handler {
	if q.wrap == nil {
		return quiet{wrap: f}
	}
	before := q.wrap
	return quiet{wrap: func(h slog.Handler) slog.Handler { return f(before(h)) }}
}
