package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"minato/internal/node/logs"
	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// How long a stream may be silent, and how long a client may take to open all
// of its streams.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = remotecommand.DefaultStreamCreationTimeout
)

// find returns the Pod of a request and what the runtime has of it.
func (s *Server) find(r *http.Request) (*v1.Pod, *observe.Pod, error) {
	namespace, name, uid := r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("uid")
	pod, ok := s.cfg.Pods.Pod(namespace, name)
	if !ok || (uid != "" && uid != string(pod.UID)) {
		return nil, nil, &notFoundError{fmt.Sprintf("pod %q not found", name+"_"+namespace)}
	}
	view, err := observe.Read(r.Context(), s.cfg.Runtime, pod.UID)
	return pod, view, err
}

// running finds the container of a request, which must have a process.
func (s *Server) running(r *http.Request) (*v1.Pod, *observe.Container, error) {
	pod, view, err := s.find(r)
	if err != nil {
		return nil, nil, err
	}
	name := r.PathValue("container")
	c := view.Latest(name)
	if !c.Running() {
		return nil, nil, &notFoundError{fmt.Sprintf("container not found (%q)", name)}
	}
	return pod, c, nil
}

// openSession reads the options of a session with a Pod and counts it in, until leave is
// called. Where ok is false, the request is answered.
func openSession[T any](s *Server, w http.ResponseWriter, r *http.Request, pod *v1.Pod, options func(*http.Request) (T, error)) (opts T, leave func(), ok bool) {
	opts, err := options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return opts, nil, false
	}
	if leave, err = s.sessions.enter(pod); err != nil {
		fail(w, err)
		return opts, nil, false
	}
	return opts, leave, true
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	if s.execPart(w, r) {
		return
	}
	pod, c, err := s.running(r)
	if err != nil {
		fail(w, err)
		return
	}
	opts, leave, ok := openSession(s, w, r, pod, remotecommand.NewOptions)
	if !ok {
		return
	}
	defer leave()
	remotecommand.ServeExec(w, r, executor{s}, "", "", c.ID, r.URL.Query()["command"], opts,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

// executor runs a command in the container whose ID it is given.
type executor struct{ s *Server }

// ExecInContainer implements remotecommand.Executor.
func (e executor) ExecInContainer(ctx context.Context, _, _, id string, cmd []string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	err := e.s.cfg.Streaming.Exec(ctx, id, cmd, in, out, errw, tty, resize)
	// The protocol looks for the exit code in the error itself.
	var exit utilexec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitStatus() == 0 {
			return nil
		}
		return exit
	}
	return err
}

// justNow is how long after a container's start a client that attaches gets its
// output from the beginning, and how long after its end a client may still
// attach.
const justNow = 30 * time.Second

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	pod, view, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	if s.refusePart(w, pod, "attached to", "`kubectl logs -f` shows what it prints") {
		return
	}
	c := view.Latest(r.PathValue("container"))
	if !c.Running() && !(c.Exited() && s.cfg.Clock.Since(c.FinishedAt) < justNow) {
		fail(w, &notFoundError{fmt.Sprintf("container not found (%q)", r.PathValue("container"))})
		return
	}
	opts, leave, ok := openSession(s, w, r, pod, remotecommand.NewOptions)
	if !ok {
		return
	}
	defer leave()
	a := &attacher{s: s, run: c, log: filepath.Join(s.cfg.LogDir, spec.LogDir(pod), spec.LogPath(c.Name, c.Attempt))}
	remotecommand.ServeAttach(w, r, a, "", "", c.ID, opts, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

// attacher connects a client to a container. Input and window sizes go to the
// process. Output is read from the container's log: so the client also gets what
// a container that has just started printed before the client was connected, and
// `kubectl run -i` shows the whole output of a command that ends in a moment. A
// kubectl that reads the logs before it attaches gets the output after those.
type attacher struct {
	s   *Server
	run *observe.Container
	log string
}

// attachPause is how often the log is looked at: seldom enough to cost little,
// often enough for a person who types.
const attachPause = 10 * time.Millisecond

// AttachContainer implements remotecommand.Attacher.
func (a *attacher) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.run.Running() && (in != nil || tty) {
		go func() {
			// The end of the input is not the end of the session: the log says
			// when the output ends, and ctx ends when the client disconnects.
			if err := a.s.cfg.Streaming.Attach(ctx, id, in, discard{}, discard{}, tty, resize); err != nil && ctx.Err() == nil {
				a.s.log.Debug("The input of an attached client ended with an error", "container", id, "error", err)
			}
		}()
	}
	opts := logs.Options{Follow: true, Tail: 0, Limit: -1, Pause: attachPause, Running: a.s.stillRunning(id), Open: a.s.cfg.OpenLog}
	if offset, ok := a.s.reads.last(id); ok {
		opts.Tail, opts.Offset = -1, offset
	} else if a.s.cfg.Clock.Since(a.run.StartedAt) < justNow {
		opts.Tail = -1
	}
	return logs.Read(ctx, a.log, opts, writerOrNil(out), writerOrNil(errw))
}

// writerOrNil returns a nil interface for a stream that the client did not ask
// for; a nil io.WriteCloser in an io.Writer would not be nil.
func writerOrNil(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// askEvery is how often the follower of a log asks the runtime for the state of
// the container, at most.
const askEvery = 50 * time.Millisecond

// stillRunning tells whether the container has a process.
func (s *Server) stillRunning(id string) func(context.Context) (bool, error) {
	var mu sync.Mutex
	var asked time.Time
	return func(ctx context.Context) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(asked) < askEvery {
			return true, nil
		} else {
			asked = now
		}
		resp, err := s.cfg.Runtime.ContainerStatus(ctx, id, false)
		if err != nil {
			return false, nil // the container was removed: no output will follow
		}
		c := observe.Container{State: resp.GetStatus().GetState()}
		return !c.Exited(), nil
	}
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod, view, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	if s.refusePart(w, pod, "forwarded to", "connect to the node's address instead") {
		return
	}
	sandbox := view.Sandbox()
	if sandbox == nil || !sandbox.Ready {
		http.Error(w, fmt.Sprintf("pod %q is not running", pod.Name), http.StatusInternalServerError)
		return
	}
	opts, leave, ok := openSession(s, w, r, pod, portforward.NewV4Options)
	if !ok {
		return
	}
	defer leave()
	portforward.ServePortForward(w, r, forwarder{s, pod}, sandbox.ID, string(pod.UID), opts, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

// forwarder connects a stream to a port in the sandbox whose ID it is given.
type forwarder struct {
	s   *Server
	pod *v1.Pod
}

// PortForward implements portforward.PortForwarder.
func (f forwarder) PortForward(ctx context.Context, id, _ string, port int32, stream io.ReadWriteCloser) error {
	leave, err := f.s.forwarded.enter(f.pod)
	if err != nil {
		return err
	}
	defer leave()
	return f.s.cfg.Streaming.PortForward(ctx, id, port, stream)
}

// run runs a command and answers with its output. The command is split at spaces,
// as the kubelet does.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	if pod, ok := s.cfg.Pods.Pod(r.PathValue("namespace"), r.PathValue("pod")); ok && s.refusePart(w, pod, "run in", "use `kubectl exec`") {
		return
	}
	pod, c, err := s.running(r)
	if err != nil {
		fail(w, err)
		return
	}
	leave, err := s.sessions.enter(pod)
	if err != nil {
		fail(w, err)
		return
	}
	defer leave()
	stdout, stderr, err := s.cfg.Runtime.ExecSync(r.Context(), c.ID, strings.Split(r.FormValue("cmd"), " "), 0)
	var exit utilexec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fail(w, err)
		return
	}
	w.Write(append(stdout, stderr...))
}
