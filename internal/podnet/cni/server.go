package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"minato/internal/host"
	"minato/internal/podnet"
)

// Network is what the server needs of the node's Pod network.
type Network interface {
	Attach(ctx context.Context, id, netnsPath string) ([]netip.Addr, error)
	Detach(ctx context.Context, id string) error
	Check(id, netnsPath string) error
	Attachment(id string) (podnet.Attachment, bool)
	Owners() []string
}

// ServerConfig says where a Server listens, and for which network.
type ServerConfig struct {
	// Path is where the socket is made; a file that is there is replaced.
	Path    string
	Network Network
	// Netns is the node's network namespace and Addresses are the node's own, for
	// Pods that are on the node's network.
	Netns     host.Netns
	Addresses []netip.Addr
	Logger    *slog.Logger
}

// Server does what plugins ask for.
type Server struct {
	cfg ServerConfig
	mu  sync.Mutex // one request at a time
}

// NewServer checks the configuration; Run opens the socket.
func NewServer(cfg ServerConfig) (*Server, error) {
	if !filepath.IsAbs(cfg.Path) || cfg.Network == nil {
		return nil, fmt.Errorf("CNI server at %q: an absolute Path and a Network are required", cfg.Path)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg}, nil
}

// request is what the plugin sends, with the descriptor of the namespace.
type request struct {
	Command, Network string
	Attachment       attachment
	Valid            *[]attachment
	OnNode           bool
}

// answer is what it gets.
type answer struct {
	Error           *Error       `json:",omitempty"`
	Link            string       `json:",omitempty"`
	NodeMAC, PodMAC string       `json:",omitempty"`
	MTU             int          `json:",omitempty"`
	IPs, Gateways   []netip.Addr `json:",omitempty"`
	// Netns is the path of the node's network namespace, for a Pod that is on it.
	Netns string `json:",omitempty"`
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	dir, err := os.Open(filepath.Dir(s.cfg.Path))
	if err != nil {
		return fmt.Errorf("serve the CNI: %w", err)
	}
	defer dir.Close()
	if err := os.Remove(s.cfg.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("serve the CNI: %w", err)
	}
	// The path may be longer than an address may be.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(s.cfg.Path))})
	if err != nil {
		return fmt.Errorf("serve the CNI at %s: %w", s.cfg.Path, err)
	}
	l.SetUnlinkOnClose(false)
	defer os.Remove(s.cfg.Path)
	if err := os.Chmod(s.cfg.Path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	var open sync.WaitGroup
	defer open.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve the CNI at %s: %w", s.cfg.Path, errors.Join(err, l.Close()))
		}
		open.Go(func() { s.serve(ctx, conn) })
	}
}

func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	a := &answer{}
	req, ns, err := receive(conn)
	if ns != nil {
		defer ns.Close()
	}
	if err == nil {
		a, err = s.do(ctx, req, ns)
	}
	if err != nil {
		s.cfg.Logger.Warn("a request to the CNI's socket failed", "command", req.Command, "container", req.Attachment.ContainerID, "error", err)
		a = &answer{Error: asError(err)}
	}
	if err := json.NewEncoder(conn).Encode(a); err != nil {
		s.cfg.Logger.Warn("a client of the CNI's socket did not wait for its answer", "command", req.Command, "error", err)
	}
}

// receive reads a request and the namespace that comes with it, if one does.
func receive(conn *net.UnixConn) (req request, ns *os.File, err error) {
	if err := onlyRoot(conn); err != nil {
		return req, nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return req, nil, err
	}
	data := make([]byte, 64<<10)
	n, ns, err := host.ReceiveWithFile(conn, data)
	if err != nil {
		return req, nil, fail(codeIO, "read the request: %v", err)
	}
	rest, err := io.ReadAll(io.LimitReader(conn, maxConfig))
	if err != nil {
		return req, ns, fail(codeIO, "read the request: %v", err)
	}
	if err := json.Unmarshal(append(data[:n], rest...), &req); err != nil {
		return req, ns, fail(codeDecode, "read the request: %v", err)
	}
	return req, ns, nil
}

func onlyRoot(conn *net.UnixConn) error {
	user, err := host.PeerUser(conn)
	if err != nil {
		return fail(codeIO, "ask who connects: %v", err)
	}
	if user != 0 {
		return fail(codeFailed, "user %d may not use this socket: only root may", user)
	}
	return nil
}

func (s *Server) do(ctx context.Context, req request, ns *os.File) (*answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		// Nobody would know of what is done now.
		return nil, fail(codeTryAgain, "the requests before this one took longer than %v", patience)
	}
	if req.OnNode && req.Command != cmdGC && req.Command != cmdStatus {
		return s.onNode()
	}
	id := owner(req.Network, req.Attachment)
	switch req.Command {
	case cmdAdd:
		return s.add(ctx, id, ns)
	case cmdDel:
		return &answer{}, s.cfg.Network.Detach(ctx, id)
	case cmdCheck:
		if _, ok := s.cfg.Network.Attachment(id); !ok {
			return nil, fail(codeUnknown, "container %s has no interface of the Pod network", req.Attachment.ContainerID)
		}
		if err := s.cfg.Network.Check(id, pathOf(ns)); err != nil {
			return nil, err
		}
		return s.describe(id), nil
	case cmdGC:
		return &answer{}, s.collect(ctx, req)
	case cmdStatus:
		return &answer{}, nil
	}
	return nil, fail(codeEnvironment, "unknown command %q", req.Command)
}

// onNode is the answer for a Pod on the node's network, for which nothing is made.
func (s *Server) onNode() (*answer, error) {
	if s.cfg.Netns.Path == "" || len(s.cfg.Addresses) == 0 {
		return nil, fail(codeUnsupported, "Pods on the node's network: the node has no network namespace of its own")
	}
	return &answer{Netns: s.cfg.Netns.Path, IPs: s.cfg.Addresses}, nil
}

func (s *Server) add(ctx context.Context, id string, ns *os.File) (*answer, error) {
	if ns == nil {
		return nil, fail(codeIO, "the request comes without a network namespace")
	}
	if _, has := s.cfg.Network.Attachment(id); has {
		return nil, fail(codeConfig, "%s has an interface already; call DEL first", id)
	}
	if _, err := s.cfg.Network.Attach(ctx, id, pathOf(ns)); err != nil {
		return nil, errors.Join(err, s.cfg.Network.Detach(context.WithoutCancel(ctx), id))
	}
	return s.describe(id), nil
}

// collect takes away what the runtime does not list, of this network alone: other
// addresses are those of Minato's own sandboxes.
func (s *Server) collect(ctx context.Context, req request) error {
	if req.Valid == nil {
		return fail(codeConfig, "there is no list of what is in use")
	}
	valid := map[string]bool{}
	for _, a := range *req.Valid {
		valid[owner(req.Network, a)] = true
	}
	var errs []error
	for _, id := range s.cfg.Network.Owners() {
		if strings.HasPrefix(id, ownersOf(req.Network)) && !valid[id] {
			errs = append(errs, s.cfg.Network.Detach(ctx, id))
		}
	}
	return errors.Join(errs...)
}

func (s *Server) describe(id string) *answer {
	a, _ := s.cfg.Network.Attachment(id)
	return &answer{
		Link: a.Link, NodeMAC: a.NodeMAC.String(), PodMAC: a.PodMAC.String(), MTU: a.MTU, IPs: a.IPs, Gateways: a.Gateways,
	}
}

func pathOf(ns *os.File) string {
	if ns == nil {
		return ""
	}
	return fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
}
