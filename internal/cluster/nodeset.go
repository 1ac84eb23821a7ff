package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"minato/internal/supervise"
)

// nodeSet are the nodes of a server, which come and go.
type nodeSet struct {
	// changing is held by the one change of the set that is under way.
	changing sync.Mutex
	// ctx is that of all nodes, and runs those that have begun.
	ctx  context.Context
	runs sync.WaitGroup

	mu      sync.Mutex
	running []*node // in the order of their numbers
	// list is the cluster's NodeList now; that of the server's configuration is
	// what it was at the start.
	list []NodeSpec
	// users are the cluster's PodUsers now.
	users map[int][]UserBlocks
}

// config is the cluster's configuration with the nodes that it has now.
func (s *Server) config() Config {
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	c := s.cfg
	c.NodeList, c.PodUsers = slices.Clone(s.nodes.list), maps.Clone(s.nodes.users)
	return c
}

// running are the nodes that run now, in the order of their numbers.
func (s *Server) running() []*node {
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	return slices.Clone(s.nodes.running)
}

// runningNode is a node that runs, nil if there is none of that name.
func (s *Server) runningNode(name string) *node {
	for _, n := range s.running() {
		if n.name == name {
			return n
		}
	}
	return nil
}

// begin runs a node of the set until it is cancelled.
func (s *Server) begin(n *node) {
	ctx, cancel := context.WithCancel(s.nodes.ctx)
	n.cancel = cancel
	s.nodes.runs.Go(func() {
		defer close(n.ended)
		defer cancel()
		s.parts.Run(ctx, supervise.Part{Name: n.name, Run: n.run})
		if s.nodes.ctx.Err() == nil {
			s.parts.Forget(n.name)
		}
	})
}

// join takes a node into the set and runs it.
func (s *Server) join(n *node) error {
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	if s.nodes.ctx.Err() != nil {
		return errors.New("the cluster is going down")
	}
	s.nodes.running = append(s.nodes.running, n)
	slices.SortFunc(s.nodes.running, func(a, b *node) int { return a.number - b.number })
	s.begin(n)
	return nil
}

// leave ends a node and takes it out of the set.
func (s *Server) leave(ctx context.Context, n *node) error {
	n.cancel()
	select {
	case <-n.ended:
	case <-ctx.Done():
		return fmt.Errorf("end node %s: %w", n.name, context.Cause(ctx))
	}
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	s.nodes.running = slices.DeleteFunc(s.nodes.running, func(o *node) bool { return o == n })
	return nil
}

// nodeStatuses are the states of all nodes, those that are stopped as well.
func (s *Server) nodeStatuses() []NodeStatus {
	var out []NodeStatus
	for _, spec := range s.config().NodeSpecs() {
		if n := s.runningNode(spec.Name); n != nil {
			out = append(out, n.status())
			continue
		}
		out = append(out, describeNode(s.cfg, spec))
	}
	return out
}

// saveNodes writes the nodes of a configuration to the cluster's, which `up` may
// have changed otherwise.
func (s *Server) saveNodes(c Config) error {
	saved, err := LoadConfig(c.Name)
	if err != nil {
		return err
	}
	saved.NodeList, saved.PodUsers = c.NodeList, c.PodUsers
	if err := saved.Save(); err != nil {
		return err
	}
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	s.nodes.list, s.nodes.users = c.NodeList, c.PodUsers
	return nil
}
