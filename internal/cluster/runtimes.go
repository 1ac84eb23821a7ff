package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
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
	if len(c.RuntimeHandlers) > 0 && !slices.Contains(c.runtimeEndpoints(), "") {
		return fmt.Errorf("--runtime-handler is for Minato's own runtime, and the container runtime at %s runs the Pods: the handlers of RuntimeClasses are those in that runtime's own configuration; leave --runtime-handler out", c.runtimeEndpoints()[0])
	}
	return nil
}

// validateRegistries returns an error for the first of some nodes that --registry-config
// would be nothing to. It is for those that are made: a cluster that an earlier version
// gave such a node goes on with it, as long as its registries stay as they are.
func (c Config) validateRegistries(nodes []NodeSpec) error {
	for _, n := range nodes {
		if c.Registries.Config != "" && c.runtimeEndpoint(n) != "" {
			return fmt.Errorf("--registry-config is nothing to the container runtime at %s, which runs the Pods of node %s and pulls their images itself: give that runtime the settings (for containerd the config_path of its registry) and leave --registry-config out, or give all nodes Minato's own runtime (--container-runtime-endpoint %s)", c.runtimeEndpoint(n), n.Name, OwnRuntime)
		}
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
		return nil // which runtimes it had is not known any more: see leftInRuntimes
	}
	var errs []error
	for _, endpoint := range c.runtimeEndpoints() {
		if endpoint != "" {
			errs = append(errs, remote.Clear(ctx, endpoint, remote.Owner{Cluster: name}, remove))
		}
	}
	return errors.Join(errs...)
}

// leftInRuntimes says in words what may be left in container runtimes of a cluster whose
// configuration is lost, so that nobody knows which ones it had.
func leftInRuntimes(name string) string {
	p := Paths{Name: name}
	what := "If a container runtime other than Minato's own ran Pods of the cluster, it still has"
	if records, err := os.ReadDir(p.CNIRecords()); err == nil && len(records) > 0 {
		what = "A container runtime other than Minato's own ran Pods of the cluster, and may still have"
	}
	list := "crictl -r unix:///run/containerd/containerd.sock pods " + remote.SelectorFlags(name)
	return fmt.Sprintf("The settings of cluster %q in %s can't be read, so it is not known which container runtimes it had. %s what it made for them: `%s` lists that, with the socket of the runtime in question, and `crictl rmp -f ID` removes it.",
		name, p.Config(), what, list)
}

// NodesWithoutImages says in words which nodes don't have the images of a cluster's store,
// beside others that do; empty if there are none.
func NodesWithoutImages(name string) string {
	c, err := LoadConfig(name)
	if err != nil {
		return ""
	}
	return c.nodesWithoutImages()
}

func (c Config) nodesWithoutImages() string {
	var without []string
	for _, n := range c.NodeSpecs() {
		if endpoint := c.runtimeEndpoint(n); endpoint != "" {
			without = append(without, fmt.Sprintf("%s (%s)", n.Name, endpoint))
		}
	}
	if len(without) == 0 {
		return ""
	}
	return fmt.Sprintf("These nodes have images of their own, in the container runtimes that run their Pods: %s. For containerd `ctr --address SOCKET --namespace k8s.io images import FILE` loads them.", strings.Join(without, ", "))
}

// OwnImages returns an error if no node runs images of the cluster's store.
func (c Config) OwnImages() error {
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
