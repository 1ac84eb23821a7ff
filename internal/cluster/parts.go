package cluster

import (
	"context"
	"errors"
	"io"
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
		etcd := part(controlplane.Etcd, controlplane.PartEtcd, s.control.CheckEtcd, restart(controlplane.PartEtcd))
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
	select {
	case s.restarting <- struct{}{}:
	default: // it is under way
	}
	return nil
}

// restartAfter lets the Pod that shows the API server be made again first, so that
// the next server can count on.
const restartAfter = time.Second

func (s *Server) awaitRestart(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.restarting:
	}
	select {
	case <-ctx.Done():
	case <-time.After(restartAfter):
		s.stop(errRestart)
	}
	return nil
}

// partLogs writes the lines of parts from the log that the server prints to.
func (s *Server) partLogs(ctx context.Context, parts []string, node string, o agent.PartLogOptions, w io.Writer) error {
	if err := checkLogged(s.paths); err != nil {
		return err
	}
	left := o.Limit
	err := logbook.Read(ctx, s.paths.Log(), logbook.Options{
		Filter: logbook.Filter{Parts: parts, Node: node, OrNoNode: true, Since: o.Since, Before: o.Before},
		Tail:   int(min(o.Tail, maxTail)), Follow: o.Follow,
	}, func(l logbook.Line) error {
		text := l.Text + "\n"
		if o.Timestamps && !l.Time.IsZero() {
			text = l.Time.Format(time.RFC3339Nano) + " " + text
		}
		if o.Limit >= 0 {
			text = text[:min(int64(len(text)), left)]
			left -= int64(len(text))
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		if o.Limit >= 0 && left == 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) || ctx.Err() != nil {
		return nil
	}
	return err
}

// maxTail is how many last lines of a log somebody may ask for, as long as he does not
// want all.
const maxTail = 1 << 20

// errEnough ends the reading of a log.
var errEnough = errors.New("enough was read")
