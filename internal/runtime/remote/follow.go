package remote

import (
	"context"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// relistPeriod is how often the runtime is asked for what it has, as the kubelet
	// does (PLEG): old runtimes send no events.
	relistPeriod = time.Second
	// sweepPeriod is how often what is left of Pods is looked for.
	sweepPeriod = time.Minute
	// againAfter is the pause before the runtime's events are asked for again.
	againAfter = time.Second
)

// state is what a listing tells of a sandbox or a container.
type state struct {
	sandbox string // of a container
	value   int32
}

// look has the runtime's lists looked at soon.
func (r *Runtime) look() {
	select {
	case r.wanted <- struct{}{}:
	default:
	}
}

// follow compares what the runtime has with what it had, and tells what is
// different. Events of the runtime only say when to look.
func (r *Runtime) follow(ctx context.Context) error {
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { r.listen(ctx) })
	tick := time.NewTicker(relistPeriod)
	defer tick.Stop()
	var swept time.Time
	for {
		sandboxes, err := r.relist(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if changed := r.health.note(time.Now(), err); changed && err != nil {
			r.log.Warn("the container runtime does not answer", "endpoint", r.cfg.Endpoint, "error", err)
		} else if changed {
			r.log.Info("the container runtime answers", "endpoint", r.cfg.Endpoint)
			r.forgetWho()
		}
		if err == nil && time.Since(swept) >= sweepPeriod {
			swept = time.Now()
			if err := r.sweep(ctx, sandboxes); err != nil && ctx.Err() == nil {
				r.log.Warn("something of a Pod that has ended can't be removed; it will be tried again", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.wanted:
		}
	}
}

// relist asks for everything and tells what has changed.
func (r *Runtime) relist(ctx context.Context) ([]*runtimeapi.PodSandbox, error) {
	sandboxes, err := r.ListPodSandbox(ctx, nil)
	if err != nil {
		return nil, err
	}
	containers, err := r.ListContainers(ctx, nil)
	if err != nil {
		return nil, err
	}
	now := make(map[string]state, len(sandboxes)+len(containers))
	for _, sb := range sandboxes {
		now[sb.GetId()] = state{value: int32(sb.GetState())}
	}
	for _, c := range containers {
		now[c.GetId()] = state{sandbox: c.GetPodSandboxId(), value: int32(c.GetState())}
	}
	for id, is := range now {
		if was, ok := r.states[id]; !ok || was != is {
			r.tell(id, is)
		}
	}
	for id, was := range r.states {
		if _, ok := now[id]; !ok {
			r.disown(id) // removed with its sandbox, perhaps, or by others
			r.tell(id, was)
		}
	}
	r.states = now
	return sandboxes, nil
}

func (r *Runtime) tell(id string, s state) {
	e := Event{ContainerID: id, SandboxID: s.sandbox}
	if s.sandbox == "" {
		e = Event{SandboxID: id}
	}
	if r.events.Send(e) {
		r.log.Warn("a reader of container events is too slow and has lost one", "container", id)
	}
}

// listen has the lists looked at when the runtime tells that something happened,
// until ctx ends: newer ones by the CRI, and containerd of any version by its own
// interface at the same socket.
func (r *Runtime) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.listenCRI(ctx); unknownMethod(err) && unknownMethod(r.listenContainerd(ctx)) {
			return // relisting does
		}
		select {
		case <-ctx.Done():
		case <-time.After(againAfter):
		}
	}
}

func (r *Runtime) listenCRI(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.conn.runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	for err == nil {
		if _, err = stream.Recv(); err == nil {
			r.look()
		}
	}
	return err
}

func (r *Runtime) listenContainerd(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := eventsapi.NewEventsClient(r.conn.conn).Subscribe(ctx, &eventsapi.SubscribeRequest{Filters: []string{`topic~="^/tasks/(exit|oom|start|paused|resumed)"`}})
	for err == nil {
		if _, err = stream.Recv(); err == nil {
			r.look()
		}
	}
	return err
}

// GetContainerEvents implements CRI: the events of this node, until ctx ends.
func (r *Runtime) GetContainerEvents(ctx context.Context, out chan *runtimeapi.ContainerEventResponse, connected func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	if connected != nil {
		connected(nil)
	}
	for e := range r.Events(ctx) {
		resp := &runtimeapi.ContainerEventResponse{ContainerId: e.ContainerID, CreatedAt: time.Now().UnixNano()}
		if e.ContainerID == "" {
			resp.ContainerId = e.SandboxID
		}
		if st, err := r.PodSandboxStatus(ctx, e.SandboxID, false); err == nil {
			resp.PodSandboxStatus, resp.ContainersStatuses = st.GetStatus(), st.GetContainersStatuses()
		}
		select {
		case out <- resp:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}
