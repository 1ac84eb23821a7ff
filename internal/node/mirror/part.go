package mirror

import (
	"context"
	"io"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// Part is something of the cluster itself that is shown as a Pod of the node.
type Part struct {
	// Name is that of the Pod, to which the node's name is added, and of its
	// container.
	Name   string
	Labels map[string]string
	// Image says which program the part is in, Command its effective configuration
	// as the arguments that such a program is started with.
	Image   string
	Command []string
	// State is asked often, and must answer at once.
	State func() State
	// Use tells what the part has used so far, and what memory it has; nil is not known.
	Use func() (Use, error)
	// Logs writes the part's lines.
	Logs func(ctx context.Context, o LogOptions, w io.Writer) error
	// Restart has the part started again; it does not wait.
	Restart func() error
	// Exec runs a command as if in the part's container; nil refuses all.
	Exec func(ctx context.Context, e Exec) error
}

// State is how a part is.
type State struct {
	// Ready is whether it does what it is for; Message says why not.
	Ready   bool
	Message string
	// Failed says that it does not run and will be started again.
	Failed bool
	// First is when it was started for the first time in this process, Since when it
	// was started last, Restarts how often in between.
	First, Since time.Time
	Restarts     int
	// Error is what it failed of last.
	Error string
}

// Use is what a part uses.
type Use struct {
	CPU    time.Duration // since it began
	Memory int64         // in bytes
}

// LogOptions choose lines of a part's log.
type LogOptions struct {
	// Since leaves out older lines, Before lines from then on, if they are set.
	Since, Before time.Time
	// Tail is the number of last lines to begin with, and Limit the number of bytes
	// to stop after; below zero for all.
	Tail, Limit        int64
	Follow, Timestamps bool
}

// Exec is a command with its streams, of which those are nil that nobody asked for.
type Exec struct {
	Command        []string
	In             io.Reader
	Out, Err       io.Writer
	Terminal       bool
	TerminalResize <-chan remotecommand.TerminalSize
}
