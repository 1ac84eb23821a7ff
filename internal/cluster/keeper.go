package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"minato/internal/host"
)

// serverKeeper is the idle process that holds the API server's listening
// sockets as well, so that clients wait instead of being refused while no
// server runs, and that starts the server again when it ends unexpectedly.
func (p Paths) serverKeeper() host.Keeper {
	return host.Keeper{Cgroup: p.ServerCgroup(), Program: filepath.Join(p.Data(), "keeper")}
}

// keeper is serverKeeper with the command that starts the server.
func (s *Server) keeper() (host.Keeper, error) {
	k := s.paths.serverKeeper()
	self, err := os.Executable()
	if err != nil {
		return k, err
	}
	k.Restart = []string{self, "server", "--name", s.cfg.Name, "--keep"}
	k.Output = os.Stderr
	return k, nil
}

// adoptListeners takes over the API server's listening sockets from an earlier
// server, if a keeper holds them.
func (s *Server) adoptListeners(ctx context.Context) ([]net.Listener, error) {
	want := []host.Socket{{Network: "tcp", Address: apiAddress(s.cfg.Loopback(), s.cfg.APIPort)}}
	for _, gateway := range s.cfg.Gateways() {
		want = append(want, host.Socket{Network: "tcp", Address: apiAddress(gateway, s.cfg.APIPort)})
	}
	listeners, _, err := s.paths.serverKeeper().Adopt(ctx, want...)
	return listeners, err
}

// errKeeperEnded makes the supervisor run keep again, which starts a new
// keeper.
var errKeeperEnded = errors.New("the process that starts the server again when it ends has ended")

// keep has a keeper run for as long as ctx lasts. It ends the keeper if the
// server was told to stop, and leaves it if the server fails, to start the
// server again.
func (s *Server) keep(ctx context.Context, listeners []net.Listener) error {
	if !s.kept {
		return nil
	}
	select {
	case <-s.started:
	case <-ctx.Done():
	}
	k, err := s.keeper()
	if err != nil {
		return err
	}
	if ctx.Err() == nil {
		if err := s.ensureKept(k, listeners); err != nil {
			return err
		}
		if err := k.Wait(ctx); err == nil {
			return errKeeperEnded
		}
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return nil // the server has failed: the keeper starts it again
	}
	return k.End()
}

func (s *Server) ensureKept(k host.Keeper, listeners []net.Listener) error {
	if kept, err := k.Running(); err != nil || kept {
		return err
	}
	var sockets []syscall.Conn
	for _, l := range listeners {
		c, ok := l.(syscall.Conn)
		if !ok {
			return fmt.Errorf("the listener on %s is no socket", l.Addr())
		}
		sockets = append(sockets, c)
	}
	return k.Keep(sockets...)
}
