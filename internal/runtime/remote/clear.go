package remote

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sideBySide is how many sandboxes are stopped at a time.
const sideBySide = 8

// Ask asks the runtime at an endpoint about itself. The error is one for people,
// also if a node can't use the runtime.
func Ask(ctx context.Context, endpoint string) (*About, error) {
	c, err := connect(endpoint)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close()
	a, err := c.ask(ctx)
	if silent(err) {
		return nil, fmt.Errorf("no container runtime answers at %s: start it (`systemctl restart containerd`), or correct the path: %w", endpoint, err)
	}
	if unknownMethod(err) {
		return nil, fmt.Errorf("what answers at %s does not serve the CRI, version 1: enable containerd's plugin cri (disabled_plugins in /etc/containerd/config.toml), or use a newer runtime: %w", endpoint, err)
	}
	if err != nil {
		return nil, err
	}
	return a, a.refuse(endpoint)
}

// Clear stops everything that the owner has in the runtime at an endpoint: a whole
// cluster's where Node is empty. With remove nothing is left there of it but
// images. A runtime whose socket is gone has nothing.
func Clear(ctx context.Context, endpoint string, o Owner, remove bool) error {
	path, err := SocketPath(endpoint)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	c, err := connect(endpoint)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	list := &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: o.mark(nil)}}
	if !remove {
		list.Filter.State = &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}
	}
	found, err := invoke(ctx, c, patience, c.runtime.ListPodSandbox, list)
	if silent(err) {
		return fmt.Errorf("what the cluster has in the container runtime at %s can't be removed: start it, or start it again, and try again, or remove its socket if it is gone for good: %w", endpoint, err)
	}
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for _, sb := range found.GetItems() {
		g.Go(func() error {
			_, err := invoke(ctx, c, patience, c.runtime.StopPodSandbox, &runtimeapi.StopPodSandboxRequest{PodSandboxId: sb.GetId()})
			if err == nil && remove {
				_, err = invoke(ctx, c, patience, c.runtime.RemovePodSandbox, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sb.GetId()})
			}
			if err != nil && !missing(err) {
				return fmt.Errorf("remove pod sandbox %s from the container runtime at %s: %w", sb.GetId(), endpoint, err)
			}
			return nil
		})
	}
	return g.Wait()
}
