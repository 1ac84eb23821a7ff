package ingress

import (
	"context"
	"log/slog"
	"os"
)

type NodeConfig struct{ Logger *slog.Logger }
type Node struct{}

func NewNode(NodeConfig) (*Node, error)                       { return &Node{}, nil }
func (n *Node) Tell(Facts)                                    {}
func (n *Node) Serve(list socketList, files []*os.File) error { return nil }
func (n *Node) Apply(batch []Change, synced bool)             {}
func (n *Node) Run(ctx context.Context) error                 { <-ctx.Done(); return nil }
func (n *Node) Drain()                                        {}
func (n *Node) Changed() <-chan struct{}                      { return nil }
func (n *Node) State() State                                  { return State{} }
func (n *Node) Findings(all bool) []Findings                  { return nil }
