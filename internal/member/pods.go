package member

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// endGrace is what containers have to end in when the node goes down, as
// with a machine that is shut down.
const endGrace = 2 * time.Second

// EndPods stops the node's containers, all at once.
func (m *Member) EndPods(ctx context.Context) error {
	if m.runtime == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*endGrace)
	defer cancel()
	running := &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}}
	containers, err := m.runtime.ListContainers(ctx, running)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, c := range containers {
		g.Go(func() error { return m.runtime.StopContainer(ctx, c.Id, int64(endGrace/time.Second)) })
	}
	return g.Wait()
}
