package api

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"minato/internal/node/logs"
	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// containerLogs answers with a container's output.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	pod, view, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	q := r.URL.Query()
	opts, err := logOptions(q, s.cfg.Clock.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := r.PathValue("container")
	if spec.FindContainer(pod, name) == nil {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", name, pod.Name), http.StatusNotFound)
		return
	}
	if part, ok := s.cfg.Part(pod); ok {
		s.partLogs(w, r, part, pod, opts)
		return
	}
	run, err := chooseRun(pod, view, name, isTrue(q.Get("previous")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	leave, err := s.logReaders.enter(pod)
	if err != nil {
		fail(w, err)
		return
	}
	defer leave()
	opts.Running = s.stillRunning(run.ID)
	if !opts.Follow && opts.Tail < 0 && opts.Limit < 0 && opts.Since.IsZero() {
		opts.Reached = func(offset int64) { s.reads.note(run.ID, offset) }
	}
	opts.Open = s.cfg.OpenLog
	out := &flusher{w: w, c: http.NewResponseController(w), each: opts.Follow}
	stdout, stderr := io.Writer(out), io.Writer(out)
	switch q.Get("stream") {
	case v1.LogStreamStdout:
		stderr = nil
	case v1.LogStreamStderr:
		stdout = nil
	}
	w.Header().Set("Content-Type", "text/plain")
	if opts.Follow {
		// A client that follows must learn at once that its request succeeded,
		// even if the container prints nothing for hours.
		w.WriteHeader(http.StatusOK)
		out.c.Flush()
	}
	path := filepath.Join(s.cfg.LogDir, spec.LogDir(pod), spec.LogPath(name, run.Attempt))
	if err := logs.Read(r.Context(), path, opts, stdout, stderr); err != nil {
		fmt.Fprintln(w, err)
	}
	// The flush makes the response chunked, as the kubelet's is, and sends the
	// end of the body apart from the last bytes. With a Content-Length, the body
	// gives io.EOF together with its last bytes, and the API server's WebSocket
	// reader (k8s.io/streaming, wsstream.Reader) drops bytes that come with io.EOF.
	out.c.Flush()
}

// chooseRun finds the run of a container whose output is asked for. It decides
// as the kubelet does (validateContainerLogStatus).
func chooseRun(pod *v1.Pod, view *observe.Pod, name string, previous bool) (*observe.Container, error) {
	latest := view.Latest(name)
	if previous {
		return lastEnded(pod, view, name)
	}
	switch {
	case latest.Running(), latest.Exited():
		return latest, nil
	case view.Previous(name) != nil:
		return view.Previous(name), nil
	}
	w := waiting(pod, name)
	switch {
	case w == nil:
		return nil, fmt.Errorf("container %q in pod %q is not available", name, pod.Name)
	case w.Reason == "ErrImagePull":
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: image can't be pulled", name, pod.Name)
	case w.Reason == "ImagePullBackOff":
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", name, pod.Name)
	}
	return nil, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, pod.Name, w.Reason)
}

// lastEnded finds the run that status.lastState.terminated describes. While a
// container waits for its next start, as in CrashLoopBackOff, that is the newest
// run, which has ended; otherwise it is the run before the newest.
func lastEnded(pod *v1.Pod, view *observe.Pod, name string) (*observe.Container, error) {
	latest, before := view.Latest(name), view.Previous(name)
	switch {
	case latest.Exited() && waiting(pod, name) != nil:
		return latest, nil
	case before.Exited():
		return before, nil
	}
	return nil, fmt.Errorf("previous terminated container %q in pod %q not found", name, pod.Name)
}

func waiting(pod *v1.Pod, name string) *v1.ContainerStateWaiting {
	for _, list := range [][]v1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		if st, ok := podutil.GetContainerStatus(list, name); ok {
			return st.State.Waiting
		}
	}
	return nil
}

func isTrue(s string) bool {
	b, err := strconv.ParseBool(s)
	return err == nil && b
}

// logOptions reads a request's parameters.
func logOptions(q url.Values, now time.Time) (logs.Options, error) {
	o := logs.Options{Follow: isTrue(q.Get("follow")), Timestamps: isTrue(q.Get("timestamps")), Tail: -1, Limit: -1}
	number := func(key string, least int64, set *int64) error {
		text := q.Get(key)
		if text == "" || (key == "tailLines" && strings.EqualFold(text, "all")) {
			return nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < least {
			return fmt.Errorf("parameter %s is %q; it must be a number of at least %d", key, text, least)
		}
		*set = n
		return nil
	}
	seconds := int64(-1)
	if err := number("tailLines", 0, &o.Tail); err != nil {
		return o, err
	}
	if err := number("limitBytes", 1, &o.Limit); err != nil {
		return o, err
	}
	if err := number("sinceSeconds", 1, &seconds); err != nil {
		return o, err
	}
	if seconds > 0 {
		o.Since = now.Add(-time.Duration(seconds) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return o, fmt.Errorf("parameter sinceTime: %w", err)
		}
		o.Since = t
	}
	return o, nil
}

// flusher writes to a response. With each, it sends every write to the client
// at once instead of collecting them.
type flusher struct {
	w    io.Writer
	c    *http.ResponseController
	each bool
}

func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil && f.each {
		err = f.c.Flush()
	}
	return n, err
}
