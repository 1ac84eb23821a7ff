package cluster

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"

	"minato/internal/node/settings"
	"minato/internal/runtime/image"
)

// kubelet are the settings of a node's agent: its own over those of the cluster.
func (c Config) kubelet(n NodeSpec) *settings.Kubelet { return n.Kubelet.Over(c.Kubelet) }

// validateKubelets returns an error for the first setting that an agent can't have.
func (c Config) validateKubelets() error {
	if _, err := c.Kubelet.Values(); err != nil {
		return fmt.Errorf("kubelet settings: %w", err)
	}
	for _, n := range c.NodeList {
		if err := n.Kubelet.OfOneNode(); err != nil {
			return fmt.Errorf("kubelet settings of node %s: %w", n.Name, err)
		}
		if _, err := c.kubelet(n).Values(); err != nil {
			return fmt.Errorf("kubelet settings of node %s: %w", n.Name, err)
		}
	}
	return nil
}

// sameKubelet tells whether both clusters have the same settings of agents.
func sameKubelet(a, b Config) bool { return equality.Semantic.DeepEqual(a.Kubelet, b.Kubelet) }

// newCollector makes what removes images that nobody uses.
func (s *Server) newCollector() error {
	v, err := s.cfg.Kubelet.Values()
	if err != nil {
		return err
	}
	s.unused = image.NewCollector(image.CollectorConfig{
		Store: s.images, Logger: s.log.With("part", "images"),
		Policy: image.Policy{High: int(v.Images.High), Low: int(v.Images.Low), MinAge: v.Images.MinAge, MaxAge: v.Images.MaxAge},
	})
	return nil
}
