package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"minato/internal/node/logs"
	"minato/internal/node/mirror"
)

// partLogs answers with the lines of a part of the cluster.
func (s *Server) partLogs(w http.ResponseWriter, r *http.Request, part mirror.Part, pod *v1.Pod, opts logs.Options) {
	o := mirror.LogOptions{Since: opts.Since, Tail: opts.Tail, Limit: opts.Limit, Follow: opts.Follow, Timestamps: opts.Timestamps}
	state := part.State()
	if isTrue(r.URL.Query().Get("previous")) {
		last := previousRun(pod)
		if last == nil {
			http.Error(w, fmt.Sprintf("previous terminated container %q in pod %q not found", part.Name, pod.Name), http.StatusBadRequest)
			return
		}
		o.Before, o.Follow = last.FinishedAt.Time, false
		if o.Since.Before(last.StartedAt.Time) {
			o.Since = last.StartedAt.Time
		}
	} else if o.Since.Before(state.Since) {
		o.Since = state.Since
	}
	if r.URL.Query().Get("stream") == v1.LogStreamStdout {
		http.Error(w, fmt.Sprintf("pod %q shows a part of the cluster, which prints to Stderr alone", pod.Name), http.StatusBadRequest)
		return
	}
	leave, err := s.logReaders.enter(pod)
	if err != nil {
		fail(w, err)
		return
	}
	defer leave()
	out := &flusher{w: w, c: http.NewResponseController(w), each: o.Follow}
	w.Header().Set("Content-Type", "text/plain")
	if o.Follow {
		w.WriteHeader(http.StatusOK)
		out.c.Flush()
	}
	if err := part.Logs(r.Context(), o, out); err != nil {
		fmt.Fprintln(out, err)
	}
	out.c.Flush()
}

// previousRun is the part's run before the present one.
func previousRun(pod *v1.Pod) *v1.ContainerStateTerminated {
	for _, c := range pod.Status.ContainerStatuses {
		return c.LastTerminationState.Terminated
	}
	return nil
}

// refusePart answers a request that a part of the cluster cannot do.
func (s *Server) refusePart(w http.ResponseWriter, pod *v1.Pod, what, remedy string) bool {
	part, ok := s.cfg.Part(pod)
	if ok {
		http.Error(w, fmt.Sprintf("pod %s/%s shows a part of the cluster, %s, which runs in Minato's own process and can't be %s; %s", pod.Namespace, pod.Name, part.Name, what, remedy), http.StatusBadRequest)
	}
	return ok
}

// execPart serves a request for exec that is about a part of the cluster.
func (s *Server) execPart(w http.ResponseWriter, r *http.Request) bool {
	pod, ok := s.cfg.Pods.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		return false
	}
	part, ok := s.cfg.Part(pod)
	if !ok {
		return false
	}
	if part.Exec == nil {
		return s.refusePart(w, pod, "exec'd into", "it has no shell and no files of its own: `kubectl describe` shows its configuration, `kubectl logs` what it prints")
	}
	if name := r.PathValue("container"); name != part.Name {
		fail(w, &notFoundError{fmt.Sprintf("container not found (%q)", name)})
		return true
	}
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return true
	}
	leave, err := s.sessions.enter(pod)
	if err != nil {
		fail(w, err)
		return true
	}
	defer leave()
	remotecommand.ServeExec(w, r, partExecutor{part}, "", "", part.Name, r.URL.Query()["command"], opts,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
	return true
}

type partExecutor struct{ part mirror.Part }

// ExecInContainer implements remotecommand.Executor.
func (e partExecutor) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	err := e.part.Exec(ctx, mirror.Exec{
		Command: cmd, In: in, Out: writerOrNil(out), Err: writerOrNil(errw), Terminal: tty, TerminalResize: resize,
	})
	var exit utilexec.ExitError // the protocol looks for the exit code in the error itself
	if errors.As(err, &exit) {
		if exit.ExitStatus() == 0 {
			return nil
		}
		return exit
	}
	return err
}
