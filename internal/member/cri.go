package member

import (
	"context"
	"os"
	"path/filepath"

	"minato/internal/runtime/criserver"
)

// serveCRI serves the node's runtime, which the agent calls in process, to
// crictl and others.
func (m *Member) serveCRI(ctx context.Context) error {
	images, err := m.newImages()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.cfg.CRISocket), 0o700); err != nil {
		return err
	}
	s, err := criserver.New(criserver.Config{
		Path: m.cfg.CRISocket, Runtime: m.runtime, Images: images, Streams: m.runtime.Streams(),
		Netns: m.cfg.Netns, Logger: m.logger("cri"),
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
