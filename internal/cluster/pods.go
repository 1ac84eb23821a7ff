package cluster

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// downGrace is what containers have to end in when the cluster goes down, as
// with a machine that is shut down.
const downGrace = 2 * time.Second

// endPods stops the node's containers, all at once.
func (n *node) endPods() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*downGrace)
	defer cancel()
	running := &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}}
	containers, err := n.runtime.ListContainers(ctx, running)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, c := range containers {
		g.Go(func() error { return n.runtime.StopContainer(ctx, c.Id, int64(downGrace/time.Second)) })
	}
	return g.Wait()
}
