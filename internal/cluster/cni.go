package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minato/internal/member"
	"minato/internal/runtime/remote"
)

// cniFile is the name of the network configuration list of a runtime.
const cniFile = "10-minato.conflist"

// CNIConfig is the network configuration list by which a container runtime on a
// node of the cluster finds the node's Pod network.
func CNIConfig(name, node string) ([]byte, error) {
	c, err := LoadConfig(name)
	if err != nil {
		return nil, err
	}
	if _, err := c.findNode(node); err != nil {
		return nil, err
	}
	return member.CNIConfig(Paths{Name: name}.CNISocket(node))
}

// ClustersCNIConfig is the network configuration list of a container runtime that
// runs the Pods of nodes, of any cluster of this machine.
func ClustersCNIConfig() ([]byte, error) { return member.ClustersCNIConfig(runRoot) }

// InstallCNI gives the container runtime at an endpoint the network of all clusters
// of this machine, and returns the files that it has written. program is the path
// of this program.
func InstallCNI(ctx context.Context, endpoint, program string) ([]string, error) {
	if err := RequireRoot(); err != nil {
		return nil, err
	}
	about, err := askForPlugins(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	text, err := ClustersCNIConfig()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(about.Plugins, "loopback")); errors.Is(err, os.ErrNotExist) && about.NeedsLoopback() {
		return nil, fmt.Errorf("%s %s needs the CNI plugin loopback in %s: install the package containernetworking-plugins", about.Name, about.Version, about.Plugins)
	}
	link, file := filepath.Join(about.Plugins, member.CNIPlugin), filepath.Join(about.Networks, cniFile)
	for _, dir := range []string{about.Plugins, about.Networks} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := removeFile(link); err != nil {
		return nil, err
	}
	if err := os.Symlink(program, link); err != nil {
		return nil, err
	}
	if err := writePublic(file, append(text, '\n')); err != nil {
		return nil, err
	}
	return []string{link, file}, checkNetworkOf(about, endpoint)
}

// writePublic replaces a file in a directory that is others'.
func writePublic(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".minato-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// UninstallCNI takes away what InstallCNI has written, and returns that. Files that
// are not there are none.
func UninstallCNI(ctx context.Context, endpoint string) ([]string, error) {
	if err := RequireRoot(); err != nil {
		return nil, err
	}
	about, err := askForPlugins(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	for _, c := range others("") {
		if slices.Contains(c.runtimeEndpoints(), endpoint) {
			return nil, fmt.Errorf("the nodes of the cluster %q use the container runtime at %s: `minato delete%s` first", c.Name, endpoint, nameFlag(c.Name))
		}
	}
	var gone []string
	for _, path := range []string{filepath.Join(about.Networks, cniFile), filepath.Join(about.Plugins, member.CNIPlugin)} {
		switch err := os.Remove(path); {
		case err == nil:
			gone = append(gone, path)
		case !errors.Is(err, os.ErrNotExist):
			return gone, err
		}
	}
	return gone, nil
}

func askForPlugins(ctx context.Context, endpoint string) (*remote.About, error) {
	ctx, cancel := context.WithTimeout(ctx, runtimePatience)
	defer cancel()
	about, err := remote.Ask(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	if about.Plugins == "" || about.Networks == "" {
		return nil, fmt.Errorf("%s at %s does not tell where it looks for CNI plugins: link this program there as %s, and write what `minato cni config` prints to where it looks for network configurations", about.Name, endpoint, member.CNIPlugin)
	}
	return about, nil
}

// checkNetworkOf tells that the runtime has another Pod network than Minato's. One
// that does not tell is believed: a Pod without an address of its node is refused.
func checkNetworkOf(about *remote.About, endpoint string) error {
	if about.Networks == "" {
		return nil
	}
	entries, err := os.ReadDir(about.Networks)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries { // in the order of the names, in which the runtime takes the first
		if !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(about.Networks, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(data, []byte(`"`+member.CNIPlugin+`"`)) {
			return nil
		}
		return fmt.Errorf("%s at %s has the Pod network of %s: move that file away, and run `minato cni install --container-runtime-endpoint %s`", about.Name, endpoint, path, endpoint)
	}
	return fmt.Errorf("%s at %s has no Pod network (in %s): run `minato cni install --container-runtime-endpoint %s`", about.Name, endpoint, about.Networks, endpoint)
}
