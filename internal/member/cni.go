package member

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"minato/internal/podnet/cni"
)

// CNIPlugin is the name by which container runtimes look for the plugin.
const CNIPlugin = "minato-cni"

// ClustersNetwork is the name of the network configuration of a runtime that serves
// nodes of any cluster.
const ClustersNetwork = "minato-pods"

// serveCNI connects containers of runtimes that are not Minato's.
func (m *Member) serveCNI(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(m.cfg.CNISocket), 0o700); err != nil {
		return err
	}
	s, err := cni.NewServer(cni.ServerConfig{Path: m.cfg.CNISocket, Network: m.pods, Netns: m.cfg.Netns, Addresses: m.cfg.Addresses, Logger: m.logger("cni")})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// RunCNI is the plugin, as the CNI specifies it: it returns the exit status.
func RunCNI(env func(string) string, stdin io.Reader, stdout io.Writer) int {
	return cni.Run(env, stdin, stdout)
}

// CNIConfig is the network configuration list of the node with that socket.
func CNIConfig(socket string) ([]byte, error) {
	plugin := map[string]string{"type": CNIPlugin, "socket": socket}
	return json.MarshalIndent(map[string]any{"cniVersion": "1.0.0", "name": "minato", "plugins": []any{plugin}}, "", "  ")
}

// ClustersCNIConfig is the network configuration list for a runtime that runs the
// Pods of nodes, of any cluster whose directory is below dir.
func ClustersCNIConfig(dir string) ([]byte, error) {
	plugin := map[string]string{"type": CNIPlugin, "clusters": dir}
	return json.MarshalIndent(map[string]any{"cniVersion": "1.0.0", "name": ClustersNetwork, "plugins": []any{plugin}}, "", "  ")
}
