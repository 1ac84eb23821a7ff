package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"minato/internal/cluster/logbook"
	"minato/internal/controlplane"
	"minato/internal/controlplane/access"
	"minato/internal/member"
	agent "minato/internal/node"
)

// controlParts are the parts of the control plane that are shown as Pods of its node.
func (s *Server) controlParts() []agent.Part {
	part := func(name, supervised string, check func() error, restart func() error, logs ...string) agent.Part {
		return agent.Part{
			Name: name, Labels: map[string]string{"component": name, "tier": "control-plane"},
			Image: member.PartImage(), Command: s.control.Arguments(name), Restart: restart,
			Use: s.controlUse(name),
			State: func() agent.PartState {
				is := s.controlPart.state(supervised, s.began)
				state := agent.PartState{Ready: true, First: s.began, Since: is.Since, Restarts: is.Restarts, Error: is.Error}
				if err := check(); err != nil {
					state.Ready, state.Message = false, err.Error()
				}
				return state
			},
			Logs: func(ctx context.Context, o agent.PartLogOptions, w io.Writer) error {
				return s.partLogs(ctx, append(logs, name), access.ControlPlaneNode, o, w)
			},
		}
	}
	restart := func(part string) func() error { return func() error { return s.control.Restart(part) } }
	components := func(c controlplane.Component) func() error { return func() error { return s.control.Check(c) } }
	healthy := func() error { return nil } // otherwise nobody could look at it
	out := []agent.Part{
		part(controlplane.KubeAPIServer, "apiserver", healthy, s.restartServer, "apiserver"),
		part(controlplane.KubeControllerManager.Name, controlplane.PartControllers, components(controlplane.KubeControllerManager), restart(controlplane.PartControllers), controlplane.PartControllers),
		part(controlplane.KubeScheduler.Name, controlplane.PartControllers, components(controlplane.KubeScheduler), restart(controlplane.PartControllers)),
	}
	if len(s.cfg.EtcdServers) == 0 {
		etcd := part(controlplane.Etcd, controlplane.PartEtcd, s.control.CheckEtcd, s.restartEtcd)
		etcd.Exec = s.execEtcd
		out = append(out, etcd)
	}
	return out
}

// errRestart ends the server so that its keeper starts it again.
var errRestart = errors.New("the server ends to be started again: the Pod of the API server was deleted")

// restartServer has the whole server started again, of which the API server can't be
// taken out: what Kubernetes keeps in global variables belongs to the first one in a
// process. Pods and traffic go on meanwhile.
func (s *Server) restartServer() error {
	if !s.kept {
		return errors.New("this server was started by hand or by a service manager, and nobody would start it again: restart it there")
	}
	s.restartSoon(func() { s.stop(errRestart) })
	return nil
}

// restartEtcd has etcd started again. Requests to the API that are under way at that
// moment fail.
func (s *Server) restartEtcd() error {
	s.restartSoon(func() {
		if err := s.control.Restart(controlplane.PartEtcd); err != nil {
			s.log.Error("etcd can't be started again", "error", err)
		}
	})
	return nil
}

func (s *Server) restartSoon(restart func()) {
	select {
	case s.restarting <- restart:
	default: // some are under way already
	}
}

// restartAfter is how long what the API is served from goes on after its Pod was
// deleted: whoever deleted it gets his answer, and the Pod is made again, so that the
// next run can count on.
const restartAfter = time.Second

// restartParts starts parts again that restartSoon was told of, until ctx ends.
func (s *Server) restartParts(ctx context.Context) error {
	for {
		var restart func()
		select {
		case <-ctx.Done():
			return nil
		case restart = <-s.restarting:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartAfter):
			restart()
		}
	}
}

// partLogs writes the lines of parts that are about the node, or about none, from
// the file that the server prints to.
func (s *Server) partLogs(ctx context.Context, parts []string, node string, o agent.PartLogOptions, w io.Writer) error {
	path, err := outputFile()
	if err != nil {
		return err
	}
	if sameFile(path, s.paths.Log()) {
		path = s.paths.Log() // by this name, what came before the last rotation is found
	}
	left := o.Limit
	err = logbook.Read(ctx, path, logbook.Options{
		Filter: logbook.Filter{Parts: parts, Node: node, OrNone: true, Since: o.Since, Before: o.Before},
		Tail:   int(o.Tail), Follow: o.Follow,
	}, func(l logbook.Line) error {
		text := l.Text + "\n"
		if o.Timestamps && !l.Time.IsZero() {
			text = l.Time.Format(time.RFC3339Nano) + " " + text
		}
		if o.Limit < 0 {
			_, err := io.WriteString(w, text)
			return err
		}
		text = text[:min(int64(len(text)), left)]
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		if left -= int64(len(text)); left <= 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) || ctx.Err() != nil {
		return nil
	}
	return err
}

// errEnough says that as many bytes were written as were asked for.
var errEnough = errors.New("the limit is reached")

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// outputFile is the file that the process prints to. The kernel opens it by the
// descriptor, whatever its name is by now.
func outputFile() (string, error) {
	const output = "/proc/self/fd/2"
	info, err := os.Stat(output)
	if err != nil {
		return "", fmt.Errorf("look at what the server prints to: %w", err)
	}
	if !info.Mode().IsRegular() {
		name, _ := os.Readlink(output) // for the message alone
		return "", fmt.Errorf("the server was started by hand or by a service manager and prints to %s, which can't be read again: look there, or at the service manager's journal", name)
	}
	return output, nil
}
