package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	utilexec "k8s.io/utils/exec"

	"minato/internal/cluster/ctlline"
	agent "minato/internal/node"
)

// EtcdctlCommand is the subcommand that is etcdctl.
const EtcdctlCommand = "etcdctl"

// EtcdctlFlags are the flags by which etcdctl reaches the store of a cluster.
func (c Config) EtcdctlFlags() []string {
	if len(c.EtcdServers) == 0 {
		return []string{"--endpoints=unix://" + Paths{Name: c.Name}.EtcdSocket()}
	}
	flags := []string{"--endpoints=" + strings.Join(c.EtcdServers, ",")}
	for flag, value := range map[string]string{"cacert": c.EtcdCAFile, "cert": c.EtcdCertFile, "key": c.EtcdKeyFile} {
		if value != "" {
			flags = append(flags, "--"+flag+"="+value)
		}
	}
	slices.Sort(flags)
	return flags
}

// execEtcd runs etcdctl for somebody who may exec into Pods of kube-system: as a
// process of the server's own, with the socket that no node and no Pod reaches.
func (s *Server) execEtcd(ctx context.Context, e agent.PartExec) error {
	args, err := ctlline.Etcdctl(e.Command, s.cfg.NodeIPs(1))
	if err != nil {
		return refuseExec(e, err)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{EtcdctlCommand, "--name", s.cfg.Name}, args...)...)
	cmd.Env, cmd.Dir = []string{"PATH=/nonexistent"}, "/"
	cmd.Stdout, cmd.Stderr = orDiscard(e.Out), orDiscard(e.Err)
	if e.Terminal { // a terminal has one output, and wants a return before each new line
		both := newLines{orDiscard(e.Out)}
		cmd.Stdout, cmd.Stderr = both, both
	}
	// A reader of ours, because one of a client that goes on would be waited for.
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run etcdctl: %w", err)
	}
	go func() {
		defer in.Close()
		if e.In != nil {
			_, _ = io.Copy(in, e.In) // it ends with the client or with etcdctl
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

// refuseExec says why as a program would, with the exit status of a shell that can't
// run a command.
func refuseExec(e agent.PartExec, err error) error {
	fmt.Fprintln(orDiscard(e.Err), err)
	if e.Err == nil {
		fmt.Fprintln(orDiscard(e.Out), err)
	}
	return utilexec.CodeExitError{Err: err, Code: 126}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// newLines writes for a terminal in raw mode.
type newLines struct{ w io.Writer }

func (n newLines) Write(p []byte) (int, error) {
	if _, err := io.WriteString(n.w, strings.ReplaceAll(string(p), "\n", "\r\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}
