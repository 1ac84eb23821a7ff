package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/buffer"

	"minato/internal/node/logs"
	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// Bounds of what a container may leave as its last words, kubelet's
// MaxContainerTerminationMessageLength, MaxContainerTerminationMessageLogLength
// and MaxContainerTerminationMessageLogLines.
const (
	maxMessage         = 4096
	maxMessageFromLogs = 2048
	maxLinesFromLogs   = 80
)

// reasonCannotRun is a container's that never ran and so has no logs.
const reasonCannotRun = "ContainerCannotRun"

// messageFile is where a run of a container writes its termination message.
func (w *worker) messageFile(container string, attempt uint32) string {
	return filepath.Join(w.m.cfg.Volumes.PodDir(w.uid), "containers", container, strconv.FormatUint(uint64(attempt), 10))
}

// readMessages adds the termination messages to the containers that have ended:
// of each the last 4096 bytes. What all containers of the Pod may have together
// is the status' matter.
func (w *worker) readMessages(pod *v1.Pod, view *observe.Pod) {
	for i := range view.Containers {
		run := &view.Containers[i]
		c := spec.FindContainer(pod, run.Name)
		if !run.Exited() || c == nil {
			continue
		}
		text := w.lastWords(pod, run, c)
		if text != "" && run.Message != "" {
			text = ": " + text
		}
		run.Message += text
		// A window may begin or end within a character, and a container may
		// write what is no text. The API server would replace such bytes, and
		// then the status that it has would never be the one that was sent.
		run.Message = string([]rune(run.Message))
	}
}

func (w *worker) lastWords(pod *v1.Pod, run *observe.Container, c *v1.Container) string {
	if c.TerminationMessagePath != "" {
		text, err := readTail(w.messageFile(run.Name, run.Attempt), maxMessage)
		if err != nil {
			return fmt.Sprintf("Error on reading termination log: %v", err)
		}
		if text != "" {
			return text
		}
	}
	if c.TerminationMessagePolicy != v1.TerminationMessageFallbackToLogsOnError || run.ExitCode == 0 || run.Reason == reasonCannotRun {
		return ""
	}
	return w.logTail(filepath.Join(w.logDir(pod), spec.LogPath(run.Name, run.Attempt)))
}

// readTail returns at most limit bytes from the end of a file that a container
// writes; no file is no text. However large the container makes the file, no
// more than that is read.
func readTail(path string, limit int64) (string, error) {
	f, err := openOwn(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-limit), limit))
	return string(b), err
}

// openOwn opens a file that the node has made for a container to write to. A
// link or something else than a file in its place is an error.
func openOwn(path string, flags int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}, err, f.Close())
	}
	return f, nil
}

// logTail is the end of a container's output.
func (w *worker) logTail(path string) string {
	end, err := buffer.NewTypedRingFixed[byte](maxMessageFromLogs)
	if err == nil {
		err = logs.Read(context.Background(), path, logs.Options{Tail: maxLinesFromLogs, Limit: -1, Open: w.m.cfg.OpenLog}, end, end)
	}
	if err != nil {
		return fmt.Sprintf("Error on reading termination message from logs: %v", err)
	}
	return string(end.Slice())
}
