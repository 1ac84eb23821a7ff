package pod

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	v1 "k8s.io/api/core/v1"

	"minato/internal/node/logs"
	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// Bounds of what a container may leave as its last words.
const (
	maxMessage         = 4096
	maxMessageFromLogs = 2048
	maxLinesFromLogs   = 80
)

// messageFile is where a run of a container writes its termination message.
func (w *worker) messageFile(container string, attempt uint32) string {
	return filepath.Join(w.m.cfg.Volumes.PodDir(w.uid), "containers", container, strconv.FormatUint(uint64(attempt), 10))
}

// readMessages adds the termination messages to the containers that have ended.
func (w *worker) readMessages(pod *v1.Pod, view *observe.Pod) {
	for i := range view.Containers {
		run := &view.Containers[i]
		c := spec.FindContainer(pod, run.Name)
		if !run.Exited() || c == nil {
			continue
		}
		text, err := readHead(w.messageFile(run.Name, run.Attempt), maxMessage)
		if err != nil {
			w.m.cfg.Logger.Warn("termination message cannot be read", "pod", pod.Name, "container", run.Name, "error", err)
		}
		if text == "" && run.ExitCode != 0 && c.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError {
			text = logTail(filepath.Join(w.logDir(pod), spec.LogPath(run.Name, run.Attempt)))
		}
		if text != "" {
			run.Message = text
		}
	}
}

func readHead(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return string(b), err
}

// logTail is the end of a container's output.
func logTail(path string) string {
	var out bytes.Buffer
	err := logs.Read(context.Background(), path, logs.Options{Tail: maxLinesFromLogs, Limit: -1}, &out, &out)
	if err != nil {
		return ""
	}
	b := out.Bytes()
	if len(b) > maxMessageFromLogs {
		b = b[len(b)-maxMessageFromLogs:]
	}
	return string(b)
}
