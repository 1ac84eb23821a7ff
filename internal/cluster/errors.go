package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"minato/internal/runtime/image"
)

var (
	// ErrNoCluster says that there is no cluster of that name.
	ErrNoCluster = errors.New("no such cluster")
	// ErrNoImage says that the cluster's store has no such image.
	ErrNoImage = image.ErrNotFound
	// ErrInterrupted is the cause of a context that a signal has ended.
	ErrInterrupted error = interruptedError{}
)

// SettingError is an error in the settings that a caller gives; nothing was
// done.
type SettingError struct{ error }

// Unwrap returns the error itself.
func (e SettingError) Unwrap() error { return e.error }

// NoClusterError is ErrNoCluster for a name, with the names that there are.
func NoClusterError(name string) error {
	there := ""
	if names := namesInWords(); names != "" {
		there = ", or name one of those that there are with --name: " + names
	}
	return fmt.Errorf("cluster %q: %w; `minato up%s` makes it%s", name, ErrNoCluster, nameFlag(name), there)
}

// DownError says that no server of the cluster runs; it is nil if one runs or is
// about to be started again.
func DownError(name string) error {
	p := Paths{Name: name}
	pid, err := serverPID(p)
	if err != nil || pid != 0 {
		return nil
	}
	if kept, err := p.serverKeeper().Running(); err == nil && kept {
		return nil
	}
	return fmt.Errorf("cluster %q is down; `minato up%s` brings it back", name, nameFlag(name))
}

// nothingDeleted is ErrNoCluster for what was to be removed.
func nothingDeleted(name string) error {
	there := ""
	if names := namesInWords(); names != "" {
		there = "; those that there are: " + names
	}
	return fmt.Errorf("cluster %q: %w, so nothing was deleted%s", name, ErrNoCluster, there)
}

func namesInWords() string {
	names, _ := Names() // without root nobody knows
	return strings.Join(names, ", ")
}

// interruptedError is the end of a context as any other cancellation, but for its
// text.
type interruptedError struct{}

func (interruptedError) Error() string { return "interrupted" }

// Is has it count as context.Canceled.
func (interruptedError) Is(target error) bool { return target == context.Canceled }
