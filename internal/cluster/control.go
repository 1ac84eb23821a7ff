package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/member"
	"minato/internal/supervise"
)

// Status is what `minato status -o json` prints.
type Status struct {
	Name        string       `json:"name"`
	Running     bool         `json:"running"`
	Ready       bool         `json:"ready"`
	PID         int          `json:"pid,omitempty"`
	Server      string       `json:"server,omitempty"`
	Context     string       `json:"context"`
	IPFamily    IPFamily     `json:"ipFamily"`
	LAN         string       `json:"lan"`
	PodCIDR     string       `json:"podCIDR"`
	ServiceCIDR string       `json:"serviceCIDR"`
	Data        string       `json:"data"`
	Log         string       `json:"log"`
	MemoryBytes int64        `json:"memoryBytes,omitempty"` // resident, of the server and the containers' monitors
	StartedAt   time.Time    `json:"startedAt,omitzero"`
	ReadyAfter  string       `json:"readyAfter,omitempty"`
	Nodes       []NodeStatus `json:"nodes,omitempty"`
	Programs    []Program    `json:"programs,omitempty"` // that run the containers
	// ProgramsError says why the programs are not known.
	ProgramsError string       `json:"programsError,omitempty"`
	Parts         []PartStatus `json:"parts,omitempty"` // of the server; those of a node are with the node
	Stages        []Event      `json:"stages,omitempty"`
}

// NodeStatus is one node of a Status. IP and PodCIDR are the first of IPs and
// of PodCIDRs.
type NodeStatus struct {
	Name     string         `json:"name"`
	IP       string         `json:"ip"`
	IPs      []netip.Addr   `json:"ips"`
	PodCIDR  string         `json:"podCIDR"`
	PodCIDRs []netip.Prefix `json:"podCIDRs"`
	Netns    string         `json:"netns"`
	// Labels and Taints are those that the node registers with.
	Labels  map[string]string `json:"labels,omitempty"`
	Taints  []corev1.Taint    `json:"taints,omitempty"`
	Stopped bool              `json:"stopped,omitempty"`
	Ready   bool              `json:"ready"`
	Pods    int               `json:"pods"`
	Parts   []PartStatus      `json:"parts,omitempty"`
}

// PartStatus is one part of the server or of a node.
type PartStatus = supervise.State

// Program is a program that runs containers.
type Program = member.Program

// ReadStatus asks the cluster's server for the status; for a cluster that is
// down it is made from the configuration.
func ReadStatus(ctx context.Context, name string) (Status, error) {
	s, err := readStatus(ctx, name)
	if err == nil && s.Ready {
		if err := ask(ctx, name, "/programs", nil, &s.Programs); err != nil {
			s.ProgramsError = err.Error()
		}
	}
	return s, err
}

// readStatus is ReadStatus without what the server has to ask others.
func readStatus(ctx context.Context, name string) (Status, error) {
	if err := ValidateName(name); err != nil {
		return Status{}, err
	}
	c, err := LoadConfig(name)
	if err != nil {
		return Status{}, err
	}
	p := Paths{Name: name}
	var s Status
	err = call(ctx, p, http.MethodGet, "/status", &s)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		s = describe(c)
		// The server is starting and does not answer yet, or it is ending.
		s.PID, err = serverPID(p)
		s.Running = s.PID != 0
	}
	return s, err
}

// describe returns the status of a cluster whose server does not answer, as far
// as the configuration has it.
func describe(c Config) Status {
	p := Paths{Name: c.Name}
	return Status{
		Name: c.Name, Context: c.ContextName(), Data: p.Data(), Log: p.Log(),
		IPFamily: c.IPFamily, LAN: c.LAN.String(), PodCIDR: c.PodCIDR.String(), ServiceCIDR: c.ServiceCIDR.String(),
	}
}

// requestStop asks the server to end its Pods and then itself. Each Pod gets
// its own grace period, but limit at most.
func requestStop(ctx context.Context, p Paths, limit time.Duration) error {
	return call(ctx, p, http.MethodPost, "/stop?grace="+limit.String(), nil)
}

// requestWithdrawal asks the server to tell the nodes' BGP peers that these go
// away.
func requestWithdrawal(ctx context.Context, p Paths) error {
	return call(ctx, p, http.MethodPost, "/withdraw", nil)
}

// call makes one request over the server's socket.
func call(ctx context.Context, p Paths, method, path string, out any) error {
	return callWith(ctx, p, method, path, nil, out)
}

// callWith is call with a body.
func callWith(ctx context.Context, p Paths, method, path string, body io.Reader, out any) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", p.Socket())
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://minato"+path, body)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the server of cluster %q: %w", p.Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the server of cluster %q: %s %s answered %s", p.Name, method, path, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// controlHandler answers on the server's socket, which only root can open.
func controlHandler(status func() Status, stop func(grace time.Duration), more ...func(*http.ServeMux)) http.Handler {
	mux := http.NewServeMux()
	for _, handle := range more {
		handle(mux)
	}
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(status())
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		grace, err := time.ParseDuration(r.URL.Query().Get("grace"))
		if err != nil {
			http.Error(w, "grace: "+err.Error(), http.StatusBadRequest)
			return
		}
		stop(grace)
	})
	return mux
}
