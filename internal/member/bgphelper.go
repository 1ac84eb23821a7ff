package member

import (
	"context"
	"log/slog"

	"minato/internal/loadbalancer/bgp"
	"minato/internal/version"
)

// BGPHelperCommand is the subcommand by which a node has a process of its own speak BGP.
const BGPHelperCommand = "bgp-helper"

// RunBGPHelper speaks BGP for the node whose server has started this process. It ends when the server says so, or has not
// come back for it.
func RunBGPHelper(ctx context.Context, log *slog.Logger) error {
	listener, err := bgp.InheritedListener()
	if err != nil {
		return err
	}
	h, err := bgp.NewHelper(bgp.HelperConfig{Listener: listener, Logger: log, Build: version.Get().String()})
	if err != nil {
		return err
	}
	return h.Run(ctx)
}
