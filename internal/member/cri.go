package member

import (
	"context"
	"path/filepath"

	"minato/internal/runtime/criserver"
	"minato/internal/runtime/image"
)

// criSocket is the name of the CRI's socket in a node's RunDir.
const criSocket = "cri.sock"

// CRISocket is where a node whose RunDir is runDir serves the CRI.
func CRISocket(runDir string) string { return filepath.Join(runDir, criSocket) }

// serveCRI serves the node's runtime, which the agent calls in process, to
// crictl and others.
func (m *Member) serveCRI(ctx context.Context) error {
	images, err := m.newImages()
	if err != nil {
		return err
	}
	s, err := criserver.New(criserver.Config{
		Path: CRISocket(m.cfg.RunDir), Runtime: m.runtime, Images: images, Streams: m.runtime.Streams(),
		Netns: m.cfg.Netns, Logger: m.logger("cri"),
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func (m *Member) newImages() (*image.Service, error) {
	return image.NewService(image.ServiceConfig{Store: m.cfg.Images, Registries: m.cfg.Registries, Logger: m.logger("images")})
}
