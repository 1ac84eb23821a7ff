package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// ended is a worker with one container that has ended and wrote this as its
// last words and to its log.
func ended(t *testing.T, containers int, message string, log []string) (w *worker, pod *v1.Pod, view *observe.Pod) {
	t.Helper()
	b := newBench(t)
	pod = newPod("web")
	pod.Spec.Containers = nil
	for i := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: fmt.Sprintf("c%d", i), TerminationMessagePath: "/dev/termination-log"})
	}
	w = newWorker(b.manager, pod, 0)
	if err := writeFile(w.messageFile("c0", 0), message, 0o666); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, line := range log {
		fmt.Fprintf(&text, "2026-01-02T03:04:05.000000000Z stdout F %s\n", line)
	}
	if err := writeFile(filepath.Join(w.logDir(pod), spec.LogPath("c0", 0)), text.String(), 0o600); err != nil {
		t.Fatal(err)
	}
	return w, pod, &observe.Pod{Containers: []observe.Container{{Name: "c0", State: runtimeapi.ContainerState_CONTAINER_EXITED, ExitCode: 1}}}
}

// The expectations are what kubelet makes of the same files.
func TestTerminationMessageWindows(t *testing.T) {
	lines := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("line %03d", i))
		}
		return out
	}
	long := strings.Repeat("x", 907) + strings.Repeat("y", 3000) + strings.Repeat("z", 1096) // 5,003 bytes
	for _, c := range []struct {
		name       string
		containers int
		message    string
		runtime    string // the runtime's own message
		reason     string
		log        []string
		fallback   bool
		want       string
	}{
		{name: "short", containers: 1, message: "bye", want: "bye"},
		{name: "the window ends with the message", containers: 1, message: long, want: long[907:]},
		{name: "three have 4096 bytes each", containers: 3, message: long, want: long[907:]},
		{name: "four have 3072 bytes each, of the window's beginning", containers: 4, message: long, want: long[907 : 907+3072]},
		{name: "after what the runtime says", containers: 1, message: "bye", runtime: "killed", want: "killed: bye"},
		{name: "all of the runtime's counts", containers: 12, message: long, runtime: "killed", want: ("killed: " + long[907:])[:1024]},
		{name: "no log without being asked", containers: 1, log: lines(1)},
		{name: "the log", containers: 1, log: lines(2), fallback: true, want: "line 000\nline 001\n"},
		{name: "the message before the log", containers: 1, message: "bye", log: lines(2), fallback: true, want: "bye"},
		{name: "80 lines of the log", containers: 1, log: lines(200), fallback: true, want: strings.Join(lines(200)[120:], "\n") + "\n"},
		{name: "2048 bytes of the log", containers: 1, log: []string{long}, fallback: true, want: long[5003-2047:] + "\n"},
		{name: "one that never ran has no log", containers: 1, log: lines(2), fallback: true, reason: "ContainerCannotRun"},
		{name: "no text", containers: 1, message: "a\xff\xfeb", want: "a\ufffd\ufffdb"},
		{name: "a limit within a character", containers: 3, message: strings.Repeat("\xff", 4096), want: strings.Repeat("\ufffd", 1365)},
		{name: "a window within a character", containers: 1, message: "é" + strings.Repeat("x", 4095), want: "\ufffd" + strings.Repeat("x", 4095)},
	} {
		w, pod, view := ended(t, c.containers, c.message, c.log)
		if c.fallback {
			pod.Spec.Containers[0].TerminationMessagePolicy = v1.TerminationMessageFallbackToLogsOnError
		}
		view.Containers[0].Message, view.Containers[0].Reason = c.runtime, c.reason
		w.readMessages(pod, view)
		ended := w.compute(pod, view, false).ContainerStatuses[0].State.Terminated
		if ended == nil {
			t.Fatalf("%s: the container has not ended", c.name)
		}
		if got := ended.Message; got != c.want {
			t.Errorf("%s: %d bytes %.60q, want %d bytes %.60q", c.name, len(got), got, len(c.want), c.want)
		}
	}
}

// However a container leaves its file, only the end of it is read, and nothing
// else is.
func TestTerminationMessageFilesAreNotTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"grown":  {func(path string) error { return os.Truncate(path, 300<<30) }, strings.Repeat("\x00", maxMessage)},
		"gone":   {os.Remove, ""},
		"link":   {func(path string) error { return os.Symlink("/etc/passwd", path) }, "Error on reading termination log: open"},
		"FIFO":   {func(path string) error { return syscall.Mkfifo(path, 0o666) }, "not a regular file"},
		"folder": {func(path string) error { return os.Mkdir(path, 0o777) }, "not a regular file"},
	} {
		w, pod, view := ended(t, 1, "bye", nil)
		path := w.messageFile("c0", 0)
		if name != "grown" && name != "gone" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.change(path); err != nil {
			t.Logf("%s: %v", name, err) // a file system may not take so large a file
			continue
		}
		w.readMessages(pod, view)
		if got := view.Containers[0].Message; (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: message = %.200q, want %.200q", name, got, c.want)
		}
	}
}

func TestFilesForContainersAreNotWrittenThroughLinks(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("p"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "etc-hosts")
	if err := os.Symlink(precious, link); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(link, "text", 0o644); err == nil {
		t.Error("a link was followed")
	}
	if text, err := os.ReadFile(precious); err != nil || string(text) != "p" {
		t.Errorf("the file behind the link reads %q, %v", text, err)
	}
	path := filepath.Join(dir, "new", "file")
	for _, text := range []string{"long text", "text"} {
		if err := writeFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v; want %q", got, err, text)
		}
	}
}

// A container that has ended for good has its message in the status while
// others of its Pod run on.
func TestTerminationMessageWhileOthersRun(t *testing.T) {
	b := newBench(t)
	p := newPod("job", restart(v1.RestartPolicyNever), func(p *v1.Pod) {
		p.Spec.Containers[0].TerminationMessagePath = "/dev/termination-log"
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "other", Image: "busybox"})
	})
	b.manager.Update(p)
	b.eventually("it runs", b.phase("job", v1.PodRunning))
	for _, m := range b.runtime.Config("main").Mounts {
		if m.ContainerPath == "/dev/termination-log" {
			if err := os.WriteFile(m.HostPath, []byte("last words"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.runtime.Exit("main", 0)
	b.eventually("its message is told", func() bool {
		for _, s := range b.reporter.get("job").ContainerStatuses {
			if s.State.Terminated != nil && s.State.Terminated.Message == "last words" {
				return true
			}
		}
		return false
	})
	if st := b.reporter.get("job"); st.Phase != v1.PodRunning {
		t.Errorf("phase = %s", st.Phase)
	}
}
