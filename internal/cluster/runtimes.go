package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"minato/internal/runtime/oci"
	"minato/internal/runtime/remote"
)

// OwnRuntime in place of an endpoint is Minato's own container runtime.
const OwnRuntime = "minato"

// nodePlace stands for a node's name in an endpoint.
const nodePlace = "{node}"

// runtimePatience bounds how long a runtime may take to say what it is.
const runtimePatience = 15 * time.Second

// runtimeEndpoint is the socket of the runtime that runs a node's containers; empty
// is Minato's own.
func (c Config) runtimeEndpoint(n NodeSpec) string {
	endpoint := n.RuntimeEndpoint
	if endpoint == "" {
		endpoint = c.RuntimeEndpoint
	}
	if endpoint == OwnRuntime {
		return ""
	}
	return strings.ReplaceAll(endpoint, nodePlace, n.Name)
}

// runtimeEndpoints are those of all nodes, each once; an empty one is Minato's own.
func (c Config) runtimeEndpoints() []string {
	all := map[string]bool{}
	for _, n := range c.NodeSpecs() {
		all[c.runtimeEndpoint(n)] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// validateRuntimes returns an error for an endpoint that can be none, and for
// settings that another runtime has to have itself.
func (c Config) validateRuntimes() error {
	for _, endpoint := range append([]string{c.RuntimeEndpoint}, c.runtimeEndpoints()...) {
		if endpoint == "" || endpoint == OwnRuntime {
			continue
		}
		if _, err := remote.SocketPath(endpoint); err != nil {
			return fmt.Errorf("--container-runtime-endpoint: %w", err)
		}
	}
	if c.RuntimeEndpoint == "" || c.RuntimeEndpoint == OwnRuntime {
		return nil
	}
	if c.Registries.Config != "" {
		return errors.New("--registry-config and --container-runtime-endpoint exclude each other: that runtime pulls images itself, so give it the settings (for containerd the config_path of its registry)")
	}
	if len(c.RuntimeHandlers) > 0 {
		return errors.New("--runtime-handler and --container-runtime-endpoint exclude each other: the handlers of RuntimeClasses are those in that runtime's own configuration")
	}
	return nil
}

// checkRuntimes tells why the nodes can't have their containers run.
func checkRuntimes(ctx context.Context, c Config) error {
	var errs []error
	for _, endpoint := range c.runtimeEndpoints() {
		if endpoint == "" {
			errs = append(errs, oci.Check())
			continue
		}
		errs = append(errs, checkEndpoint(ctx, endpoint))
	}
	return errors.Join(errs...)
}

// checkRuntime is the same for a node that is to be added.
func (c Config) checkRuntime(ctx context.Context, n NodeSpec) error {
	endpoint := c.runtimeEndpoint(n)
	if endpoint == "" {
		return oci.Check()
	}
	return checkEndpoint(ctx, endpoint)
}

func checkEndpoint(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, runtimePatience)
	defer cancel()
	about, err := remote.Ask(ctx, endpoint)
	if err == nil {
		err = checkNetworkOf(about, endpoint)
	}
	if err != nil {
		return fmt.Errorf("--container-runtime-endpoint: %w", err)
	}
	return nil
}

// handlers are the RuntimeClass handlers that nodes have; nil is not known.
func (c Config) handlers() []string {
	if !slices.Equal(c.runtimeEndpoints(), []string{""}) {
		return nil
	}
	return oci.HandlerNames(c.RuntimeHandlers)
}

// clearRuntime ends what a node has in a runtime of the machine. With remove nothing
// of it is kept there.
func (c Config) clearRuntime(ctx context.Context, n NodeSpec, remove bool) error {
	endpoint := c.runtimeEndpoint(n)
	if endpoint == "" {
		return nil
	}
	return remote.Clear(ctx, endpoint, remote.Owner{Cluster: c.Name, Node: n.Name}, remove)
}

// clearRuntimes does it for all nodes of a cluster.
func clearRuntimes(ctx context.Context, name string, remove bool) error {
	c, err := LoadConfig(name)
	if err != nil {
		return nil // which runtimes it had is not known any more; processes are killed with the cgroups
	}
	var errs []error
	for _, endpoint := range c.runtimeEndpoints() {
		if endpoint != "" {
			errs = append(errs, remote.Clear(ctx, endpoint, remote.Owner{Cluster: name}, remove))
		}
	}
	return errors.Join(errs...)
}

// ownImages returns an error if no node runs images of the cluster's store.
func (c Config) ownImages() error {
	endpoints := c.runtimeEndpoints()
	if slices.Contains(endpoints, "") {
		return nil
	}
	path, err := remote.SocketPath(endpoints[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("the nodes' containers are run by the container runtime at %s, which has images of its own: use its commands, for containerd `ctr --address %s --namespace k8s.io images import FILE`, or `crictl -r unix://%s images` and `pull`", endpoints[0], path, path)
}
