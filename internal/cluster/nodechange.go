package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"minato/internal/host"
)

const (
	// nodePatience bounds how long a node may take to become Ready or to end.
	nodePatience = 60 * time.Second
	// firstNode is where Services are reached from the machine, and what stands
	// for the control plane.
	firstNode = 1
)

// AddNode adds a node to the cluster, and returns once it is Ready and its DNS
// answers. One that does not become so is taken back.
func (s *Server) AddNode(ctx context.Context, want NodeSpec) (NodeStatus, error) {
	s.nodes.changing.Lock()
	defer s.nodes.changing.Unlock()
	c, spec, err := s.config().withNode(NodeSpec{Name: want.Name, Labels: want.Labels, Taints: want.Taints, Kubelet: want.Kubelet, Claim: want.Claim, RuntimeEndpoint: want.RuntimeEndpoint})
	if err != nil {
		return NodeStatus{}, err
	}
	if err := errors.Join(c.checkRuntime(ctx, spec), c.checkClaim(spec)); err != nil {
		return NodeStatus{}, err
	}
	if err := s.saveNodes(c); err != nil {
		return NodeStatus{}, err
	}
	n, err := s.bringUp(ctx, spec)
	if err != nil {
		// Whatever has ended the request, what was made goes.
		undo, cancel := unhurried(ctx, 0)
		defer cancel()
		return NodeStatus{}, errors.Join(err, s.remove(undo, spec, 0))
	}
	return n.status(), nil
}

// bringUp runs a node and waits until it is Ready and its DNS answers.
func (s *Server) bringUp(ctx context.Context, spec NodeSpec) (*node, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, nodePatience, fmt.Errorf("not within %s", nodePatience))
	defer cancel()
	n := newNode(s, spec)
	if err := s.join(n); err != nil {
		return nil, err
	}
	if err := n.waitReady(ctx); err != nil {
		return nil, fmt.Errorf("node %s is not Ready: %w%s", n.name, err, s.whyNot(n.name))
	}
	if m := n.current.Load(); m != nil {
		if err := m.WaitDNS(ctx); err != nil {
			return nil, fmt.Errorf("the DNS of node %s does not answer: %w", n.name, err)
		}
	}
	return n, nil
}

// whyNot is the last error of a node, to be added to a message.
func (s *Server) whyNot(name string) string {
	for _, p := range s.parts.States() {
		if p.Name == name && p.Error != "" {
			return ": " + p.Error
		}
	}
	return ""
}

// StopNode ends a node's Pods, each with its own grace period but grace at most,
// and then the node, as when a machine is switched off. Its data stays.
func (s *Server) StopNode(ctx context.Context, name string, grace time.Duration) error {
	s.nodes.changing.Lock()
	defer s.nodes.changing.Unlock()
	spec, err := s.config().findNode(name)
	if err != nil {
		return err
	}
	if spec.Number == firstNode {
		return fmt.Errorf("node %s stands for the control plane and can't be stopped; `minato down%s` stops the cluster", name, nameFlag(s.cfg.Name))
	}
	if err := s.saveNodes(s.config().changeNode(name, func(n *NodeSpec) { n.Stopped = true })); err != nil {
		return err
	}
	ctx, cancel := unhurried(ctx, grace)
	defer cancel()
	return errors.Join(s.switchOff(ctx, spec, grace), s.unregister(ctx, name))
}

// StartNode starts a node that was stopped, and returns once it is Ready.
func (s *Server) StartNode(ctx context.Context, name string) (NodeStatus, error) {
	s.nodes.changing.Lock()
	defer s.nodes.changing.Unlock()
	spec, err := s.config().findNode(name)
	if err != nil {
		return NodeStatus{}, err
	}
	if n := s.runningNode(name); n != nil {
		return n.status(), n.waitReady(ctx)
	}
	if spec.Removing {
		return NodeStatus{}, fmt.Errorf("node %s is being removed; `minato node remove %s%s` ends that", name, name, nameFlag(s.cfg.Name))
	}
	if err := s.cfg.checkClaim(spec); err != nil {
		return NodeStatus{}, err
	}
	spec.Stopped = false
	if err := s.saveNodes(s.config().changeNode(name, func(n *NodeSpec) { n.Stopped = false })); err != nil {
		return NodeStatus{}, err
	}
	n, err := s.bringUp(ctx, spec)
	if err != nil {
		return NodeStatus{}, err // it goes on trying, as the nodes of a cluster do that comes up
	}
	return n.status(), nil
}

// RemoveNode ends a node and removes everything of it, so that its number may be
// used again. A node that holds directories of claims is only removed by force.
func (s *Server) RemoveNode(ctx context.Context, name string, grace time.Duration, force bool) error {
	s.nodes.changing.Lock()
	defer s.nodes.changing.Unlock()
	spec, err := s.config().findNode(name)
	if err != nil {
		return err
	}
	if spec.Number == firstNode {
		return fmt.Errorf("node %s stands for the control plane and can't be removed; `minato delete%s` removes the cluster", name, nameFlag(s.cfg.Name))
	}
	if held := heldVolumes(s.paths.NodeData(name)); len(held) > 0 && !force && !spec.Removing {
		return fmt.Errorf("node %s holds the data of %d claims, in %s: delete the claims first (`kubectl get pv %s` tells which), or give --force to remove the data with the node",
			name, len(held), filepath.Join(s.paths.NodeData(name), "volumes"), strings.Join(held, " "))
	}
	if err := s.saveNodes(s.config().changeNode(name, func(n *NodeSpec) { n.Removing = true })); err != nil {
		return err
	}
	ctx, cancel := unhurried(ctx, grace)
	defer cancel()
	return s.remove(ctx, spec, grace)
}

// unhurried is a context for what has begun and is to be brought to its end, even
// if whoever asked for it does not wait.
func unhurried(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), grace+nodePatience)
}

// finishRemovals removes the nodes that an earlier server has begun to remove.
func (s *Server) finishRemovals(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.started:
	}
	s.nodes.changing.Lock()
	defer s.nodes.changing.Unlock()
	for _, spec := range s.config().NodeSpecs() {
		if !spec.Removing {
			continue
		}
		if err := s.remove(ctx, spec, 0); err != nil && ctx.Err() == nil {
			return fmt.Errorf("remove node %s: %w", spec.Name, err)
		}
	}
	return nil
}

// remove removes everything of a node, and last of all its place in the
// configuration.
func (s *Server) remove(ctx context.Context, spec NodeSpec, grace time.Duration) error {
	if err := s.switchOff(ctx, spec, grace); err != nil {
		return err
	}
	if err := s.unregister(ctx, spec.Name); err != nil {
		return err
	}
	if err := s.forget(ctx, spec.Name); err != nil {
		return err
	}
	if err := s.config().clearRuntime(ctx, spec, true); err != nil {
		return err
	}
	err := errors.Join(
		host.RemoveTree(s.paths.NodeData(spec.Name)),
		removeFile(s.paths.IngressLog(spec.Name)),
		s.control.PKI().ForgetNode(spec.Name),
	)
	if err != nil {
		return err
	}
	return s.saveNodes(s.config().withoutNode(spec.Name))
}

// switchOff ends a node and takes away all that is on the machine of it but for
// its data. With a grace of 0, its Pods are killed.
func (s *Server) switchOff(ctx context.Context, spec NodeSpec, grace time.Duration) error {
	if n := s.runningNode(spec.Name); n != nil {
		if m := n.current.Load(); m != nil {
			if grace > 0 {
				if err := m.EndPods(ctx, grace); err != nil {
					s.log.Warn("some Pods of a node that is stopped did not end within their grace periods and are killed", "node", spec.Name, "error", err)
				}
			}
			wait, cancel := context.WithTimeout(ctx, withdrawTimeout)
			if err := m.Withdraw(wait); err != nil {
				s.log.Warn("the BGP peers of a node are not told that it goes away", "node", spec.Name, "error", err)
			}
			cancel()
		}
		if err := s.leave(ctx, n); err != nil {
			return err
		}
	}
	return s.cleanNode(ctx, spec)
}

// cleanNode removes everything of a node that is not data, in such an order that
// nothing is in use any more when it is removed.
func (s *Server) cleanNode(ctx context.Context, spec NodeSpec) error {
	p, name := s.paths, spec.Name
	if err := s.config().clearRuntime(ctx, spec, s.config().Ephemeral); err != nil {
		return fmt.Errorf("clear node %s: %w", name, err)
	}
	cgroup := p.Cgroup().Child(name)
	if err := cgroup.Kill(ctx); err != nil && !errors.Is(err, host.ErrNoCgroup2) {
		return fmt.Errorf("end the processes of node %s: %w", name, err)
	}
	// The pins first: that detaches the programs before their links are deleted.
	errs := []error{
		os.RemoveAll(filepath.Join(p.BPF(), name)),
		host.DeleteMountNS(p.MountNS(name)),
		host.UnmountAllUnder(p.NodeRun(name)), host.UnmountAllUnder(p.NodeData(name)),
		s.lan.removeNode(spec.Number),
	}
	if err := cgroup.Delete(); err != nil && !errors.Is(err, host.ErrNoCgroup2) {
		errs = append(errs, err)
	}
	errs = append(errs, removeFile(p.CRISocket(name)), removeFile(p.CNISocket(name)), removeFile(p.BGPSocket(name)), removeFile(p.IngressSocket(name)), host.RemoveTree(p.NodeRun(name)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clear node %s: %w", name, err)
	}
	return nil
}

// removeFile removes a file if it is there.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// heldVolumes are the PersistentVolumes whose directories a node has.
func heldVolumes(data string) []string {
	entries, err := os.ReadDir(filepath.Join(data, "volumes"))
	if err != nil {
		return nil
	}
	var held []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			held = append(held, e.Name())
		}
	}
	return held
}
