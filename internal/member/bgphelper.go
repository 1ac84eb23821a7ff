package member

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"minato/internal/host"
	"minato/internal/host/helper"
	"minato/internal/loadbalancer/bgp"
	"minato/internal/version"
)

// BGPHelperCommand is the subcommand by which a node has a process of its own speak BGP.
const BGPHelperCommand = "bgp-helper"

// RunBGPHelper speaks BGP for the node whose server has started this process. It ends when the server says so, or has not
// come back for it.
func RunBGPHelper(ctx context.Context, log *slog.Logger) error {
	listener, err := helper.Listener()
	if err != nil {
		return err
	}
	h, err := bgp.NewHelper(bgp.HelperConfig{Listener: listener, Logger: log, Build: version.Get().String()})
	if err != nil {
		return err
	}
	return h.Run(ctx)
}

// newSpeaker has a process of its own speak BGP for the node, in the node's
// network namespace and cgroup. It is there only while there are peers.
func (m *Member) newSpeaker() (*bgp.Process, error) {
	return bgp.NewProcess(bgp.ProcessConfig{
		Logger: m.logger("bgp"),
		Program: host.Confined{
			Path: "/proc/self/exe", Args: []string{BGPHelperCommand},
			Netns: m.cfg.Netns, Cgroup: m.bgpCgroup(), Output: os.Stderr,
		},
		Socket: m.cfg.BGPSocket, Build: version.Get().String(),
	})
}

func (m *Member) bgpCgroup() host.Cgroup { return m.cfg.Cgroup.Child("bgp") }

// prepareSpeaker makes what the process needs that speaks BGP.
func (m *Member) prepareSpeaker() error {
	if err := os.MkdirAll(filepath.Dir(m.cfg.BGPSocket), 0o700); err != nil {
		return err
	}
	return m.bgpCgroup().Create()
}

// Withdraw tells the BGP peers that the node goes away. It is called while Run
// runs, and they are told nothing afterwards.
func (m *Member) Withdraw(ctx context.Context) error { return m.announce.Withdraw(ctx) }
