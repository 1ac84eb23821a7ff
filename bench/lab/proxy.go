package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// System is a proxy that can be measured.
type System struct {
	Name  string
	start func(w *World, api *API) (*exec.Cmd, error)
}

// Minato is Minato's, as `minato proxy`.
func Minato(binary string) System {
	return System{Name: "minato", start: func(w *World, api *API) (*exec.Cmd, error) {
		return exec.Command(binary, "proxy", "--kubeconfig", api.Kubeconfig(), "--node", w.Name, "--cgroup", w.Inside.V2(), "--bpf-dir", w.BPF), nil
	}}
}

// KubeProxy is upstream's in one of its modes. It may change the rules as often
// as it likes; by default it waits a second between two changes.
func KubeProxy(binary, mode string) System {
	return System{Name: "kube-proxy " + mode, start: func(w *World, api *API) (*exec.Cmd, error) {
		file := filepath.Join(w.Dir, "kube-proxy.json") // JSON is YAML
		none := map[string]any{"minSyncPeriod": "1ms", "syncPeriod": "1h"}
		config, err := json.Marshal(map[string]any{
			"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": mode,
			"hostnameOverride": w.Name, "clusterCIDR": PodCIDR.String(),
			"clientConnection": map[string]any{"kubeconfig": api.Kubeconfig(), "contentType": "application/vnd.kubernetes.protobuf"},
			// Limits of the whole machine are not this node's to change.
			"conntrack": map[string]any{"maxPerCore": 0, "min": 0},
			"nftables":  none,
			"iptables":  none,
		})
		if err != nil {
			return nil, err
		}
		return exec.Command(binary, "--config", file), os.WriteFile(file, config, 0o600)
	}}
}

// Start starts the proxy on the world's node. It returns at once.
func (s System) Start(ctx context.Context, w *World, api *API) (*Process, error) {
	cmd, err := s.start(w, api)
	if err != nil {
		return nil, err
	}
	p, err := w.start(w.Name+": "+s.Name, w.Node, w.Proxy, cmd)
	if err != nil {
		return nil, err
	}
	return p, countMemory(w.Proxy, p.cmd.Process.Pid)
}

// Memory is what the world's proxy holds.
func (w *World) Memory() (Memory, error) { return readMemory(w.Proxy) }

// ErrLate says that something did not answer in time.
var ErrLate = errors.New("no answer")

// Await returns when all addresses have answered, and at what time.
func (c *Client) Await(ctx context.Context, within time.Duration, to ...netip.AddrPort) (time.Duration, error) {
	end := time.Now().Add(within)
	for {
		r, err := c.Do(ctx, Order{Kind: Reach, To: to, For: time.Second})
		if err == nil {
			return r.At, nil
		}
		if r.Err == "" || ctx.Err() != nil {
			return 0, errors.Join(err, ctx.Err())
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("%w within %s: %w", ErrLate, within, err)
		}
	}
}
