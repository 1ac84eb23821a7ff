package member

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"

	"minato/internal/podnet/cni"
)

// cniSocket is the name of the CNI's socket in a node's RunDir.
const cniSocket = "cni.sock"

// CNIPlugin is the name by which container runtimes look for the plugin.
const CNIPlugin = "minato-cni"

// serveCNI connects containers of runtimes that are not Minato's.
func (m *Member) serveCNI(ctx context.Context) error {
	s, err := cni.NewServer(cni.ServerConfig{Path: filepath.Join(m.cfg.RunDir, cniSocket), Network: m.pods, Logger: m.logger("cni")})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// RunCNI is the plugin, as the CNI specifies it: it returns the exit status.
func RunCNI(env func(string) string, stdin io.Reader, stdout io.Writer) int {
	return cni.Run(env, stdin, stdout)
}

// CNIConfig is the network configuration list of the node whose RunDir is runDir.
func CNIConfig(runDir string) ([]byte, error) {
	plugin := map[string]string{"type": CNIPlugin, "socket": filepath.Join(runDir, cniSocket)}
	return json.MarshalIndent(map[string]any{"cniVersion": "1.0.0", "name": "minato", "plugins": []any{plugin}}, "", "  ")
}
