package proxy

import (
	"minato/internal/cluster/standalone/foreign"
	"minato/internal/service/dataplane"
)

// cleanup removes everything of a proxy from this node: programs, tables, interfaces, routes, settings and mounts. It
// is no error if there is nothing to remove.
func cleanup(cfg Config) error {
	return foreign.Cleanup(part, cfg.BPFDir, func(p foreign.Places) error {
		return dataplane.Remove(dataplane.Config{NodeName: cfg.Node, PinDir: p.Pins})
	}, ownCgroup())
}
