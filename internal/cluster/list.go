package cluster

import (
	"context"
	"time"
)

// State is what a cluster is doing, in a word for people.
type State string

// The states of a cluster.
const (
	StateReady State = "ready"
	// StateChanging is that of a server that runs and is not ready: it starts, or
	// it ends.
	StateChanging State = "starting or stopping"
	StateDown     State = "down"
	// StateUnknown is that of a cluster whose settings can't be read or whose
	// server does not answer.
	StateUnknown State = "unknown"
)

// Summary is a cluster in the list of all of them: what `minato ls -o json`
// prints.
type Summary struct {
	Name        string    `json:"name"`
	State       State     `json:"state"`
	Nodes       int       `json:"nodes"`
	NodesReady  int       `json:"nodesReady"`
	Server      string    `json:"server,omitempty"`
	Context     string    `json:"context,omitempty"`
	IPFamily    IPFamily  `json:"ipFamily,omitempty"`
	LAN         Ranges    `json:"lan,omitempty"`
	PodCIDR     Ranges    `json:"podCIDR,omitempty"`
	ServiceCIDR Ranges    `json:"serviceCIDR,omitempty"`
	Created     time.Time `json:"created,omitzero"` // missing for one that an earlier version made
	Error       string    `json:"error,omitempty"`  // why the state is unknown
}

// State of a cluster whose status is s.
func (s Status) State() State {
	switch {
	case s.Ready:
		return StateReady
	case s.Running:
		return StateChanging
	}
	return StateDown
}

// answerWithin bounds how long the list waits for one cluster's server.
const answerWithin = 3 * time.Second

// List returns the clusters of this machine by name. One that can't be read is
// listed with the reason.
func List(ctx context.Context) ([]Summary, error) {
	if err := RequireRoot(); err != nil {
		return nil, err
	}
	names, err := Names()
	if err != nil {
		return nil, err
	}
	out := make([]Summary, 0, len(names))
	for _, name := range names {
		out = append(out, summarize(ctx, name))
	}
	return out, nil
}

func summarize(ctx context.Context, name string) Summary {
	c, err := LoadConfig(name)
	if err != nil {
		return Summary{Name: name, State: StateUnknown, Error: err.Error()}
	}
	s := Summary{
		Name: name, Nodes: c.Nodes, Server: c.Server(), Context: c.ContextName(), IPFamily: c.IPFamily,
		LAN: c.LAN, PodCIDR: c.PodCIDR, ServiceCIDR: c.ServiceCIDR, Created: c.Created,
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	status, err := readStatus(ctx, name)
	if err != nil {
		s.State, s.Error = StateUnknown, err.Error()
		return s
	}
	s.State = status.State()
	for _, n := range status.Nodes {
		if n.Ready {
			s.NodesReady++
		}
	}
	return s
}
