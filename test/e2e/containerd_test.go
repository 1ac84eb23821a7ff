package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"minato/test/containerd"
)

// daemonPatience bounds what a script asks of containerd.
const daemonPatience = 3 * time.Minute

type daemonKey struct{}

// daemons are the containerds of a script; there is one.
type daemons struct{ one *containerd.Daemon }

// containerdCommand runs a containerd of the script's own.
//
//	containerd start       (again, too) sets CONTAINERD to its endpoint; skips the script where it is not installed
//	containerd import TAR… loads images
//	containerd stop        ends it; containers go on
//	containerd hang        has it answer nobody, until
//	containerd resume
//	containerd left        prints the IDs of the containers that it has
func containerdCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: containerd start|import|stop|hang|resume|left")
	}
	d, _ := ts.Value(daemonKey{}).(*daemons)
	ctx, cancel := context.WithTimeout(context.Background(), daemonPatience)
	defer cancel()
	if args[0] == "start" {
		startDaemon(ctx, ts, d)
		return
	}
	if d.one == nil {
		ts.Fatalf("containerd %s: it was not started", args[0])
	}
	switch args[0] {
	case "import":
		ts.Check(d.one.Import(ctx, args[1:]...))
	case "stop":
		ts.Check(d.one.Stop())
	case "hang":
		ts.Check(d.one.Signal(syscall.SIGSTOP))
	case "resume":
		ts.Check(d.one.Signal(syscall.SIGCONT))
	case "left":
		ids, err := d.one.Containers(ctx)
		ts.Check(err)
		fmt.Fprintln(ts.Stdout(), strings.Join(ids, "\n"))
	default:
		ts.Fatalf("containerd %s: no such command", args[0])
	}
}

func startDaemon(ctx context.Context, ts *testscript.TestScript, d *daemons) {
	if d.one == nil {
		// Not the script's directory, of which the path may be too long for a socket.
		dir, err := os.MkdirTemp("/run", "mt-e2e-containerd-")
		ts.Check(err)
		if d.one, err = containerd.New(dir); err != nil {
			ts.Check(os.RemoveAll(dir))
			if errors.Is(err, containerd.ErrMissing) {
				ts.Setenv("CONTAINERD", "")
				return
			}
			ts.Check(err)
		}
	}
	ts.Check(d.one.Start(ctx))
	ts.Setenv("CONTAINERD", d.one.Endpoint())
}

// end removes the script's containerd; what it has printed is told of a script that
// failed.
func (d *daemons) end(failed bool, logf func(string, ...any)) error {
	if d.one == nil {
		return nil
	}
	if text, err := os.ReadFile(d.one.Log()); err == nil && failed {
		logf("%s: %s", filepath.Base(d.one.Log()), text[max(0, len(text)-8<<10):])
	}
	return d.one.Remove()
}
