package balancer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/loadbalancer/announce"
)

// cleanup removes everything of an earlier process from this node: programs, tables, multicast groups and mounts. It is no
// error if there is nothing to remove.
func cleanup(cfg Config) error {
	return foreign.Cleanup(part, cfg.BPFDir, func(p foreign.Places) error {
		if err := announce.Remove(announce.Config{NodeName: cfg.Node, PinDir: announcePins(p)}); err != nil {
			return err
		}
		if err := os.Remove(p.Pins); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the directory of pins: %w", err)
		}
		return nil
	})
}
