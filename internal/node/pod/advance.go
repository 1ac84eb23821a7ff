package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"minato/internal/node/csi"
	"minato/internal/node/guard"
	"minato/internal/node/observe"
	"minato/internal/node/probe"
	"minato/internal/node/spec"
	"minato/internal/node/status"
)

// maxRounds bounds how many plans one step makes; if the Pod still has something
// to do after that, another step follows.
const maxRounds = 8

// advance does what is next for the Pod's containers to run as its spec says.
func (w *worker) advance(ctx context.Context, pod *v1.Pod) (next time.Time, err error) {
	if w.expired(pod) {
		w.life.take(stepFinish)
		return next, nil
	}
	view, err := w.read(ctx, pod)
	if err != nil {
		return next, err
	}
	next = w.deadline(pod)
	pod, again, err := w.allocate(ctx, pod)
	if err != nil {
		return next, err
	}
	next = sooner(next, again)
	if w.stale.Swap(false) {
		w.mounted = w.mounted && len(pod.Spec.Volumes) == 0
		w.retryConfig()
	}
	replacing := false
	for range maxRounds {
		w.ensureProbes(ctx, pod, view)
		plan := MakePlan(pod, view, Facts{
			Health: w.m.cfg.Probes.Health, ContainerHas: w.containerHas, SandboxHas: w.sandboxHas, Stopped: w.resizing.stopped,
		})
		if plan.Done {
			w.life.take(stepFinish)
			return next, nil
		}
		w.noteResize(pod, plan)
		if !replacing {
			w.report(pod, view)
		}
		replacing = w.replaces(ctx, pod, view, plan)
		acted, wait, err := w.execute(ctx, pod, view, plan)
		next = sooner(next, wait)
		if err != nil || !acted {
			w.report(pod, view)
			return sooner(next, w.renewAt), err
		}
		if view, err = w.read(ctx, pod); err != nil {
			return next, err
		}
	}
	w.poke()
	return next, nil
}

func (w *worker) read(ctx context.Context, pod *v1.Pod) (*observe.Pod, error) {
	view, err := w.m.view.Read(ctx, w.uid)
	if err != nil {
		return nil, err
	}
	w.readMessages(pod, view)
	return view, nil
}

// execute acts on a plan. acted says that the runtime has changed and has to be
// read again; wait is when a start that was postponed is due.
func (w *worker) execute(ctx context.Context, pod *v1.Pod, view *observe.Pod, plan Plan) (acted bool, wait time.Time, err error) {
	if plan.Again {
		return true, wait, w.stopRound(ctx, pod, plan.Kill)
	}
	for _, k := range plan.Kill {
		if k.Resize {
			w.resizing.stopped[k.Container.ID] = true
		}
		if err := w.kill(ctx, pod, k, grace(pod)); err != nil {
			return false, wait, err
		}
		acted = true
	}
	if plan.NewSandbox {
		if err := w.prepareClaims(ctx, pod); err != nil {
			return false, wait, err
		}
		// The sandbox and the volumes do not need each other, and both take time.
		var g guard.Group
		g.Go("make the sandbox", func() error { return w.newSandbox(ctx, pod, plan) })
		g.Go("set up volumes", func() error { return w.mount(ctx, pod) })
		return true, wait, g.Wait()
	}
	if acted {
		return true, wait, nil
	}
	if err := w.mount(ctx, pod); err != nil {
		return false, wait, err
	}
	if len(plan.Update) > 0 || plan.Limits {
		acted, wait = w.resize(ctx, pod, view, plan)
	}
	for _, c := range plan.Start {
		started, at, err := w.tryStart(ctx, pod, view, c)
		if err != nil {
			return false, wait, err
		}
		acted = acted || started
		wait = sooner(wait, at)
	}
	if !acted {
		w.prune(ctx, pod, view)
	}
	return acted, wait, nil
}

// raceWindow is how long a refusal may mean no more than that the API server's
// authorizer has not heard yet that the Pod is on this node.
const raceWindow = time.Second

// mount sets the Pod's volumes up unless that is done.
func (w *worker) mount(ctx context.Context, pod *v1.Pod) error {
	now := w.m.cfg.Clock.Now()
	// A container that comes later may name a volume that none did before.
	if w.mounted && w.mountedFor == len(pod.Spec.EphemeralContainers) && (w.renewAt.IsZero() || now.Before(w.renewAt)) {
		return nil
	}
	pause := 5 * time.Millisecond
	for start := time.Now(); ; pause *= 2 {
		var renew time.Time
		err := guard.Do("set up volumes", func() (err error) {
			renew, err = w.m.cfg.Volumes.SetUp(ctx, pod)
			return err
		})
		w.renewAt = renew
		if err == nil {
			w.m.cfg.Objects.Hold(w.uid, volumeRefs(pod))
			w.mounted, w.mountedFor = true, len(pod.Spec.EphemeralContainers)
			return nil
		}
		if !w.mounted && time.Since(start) < raceWindow && perhapsTooEarly(err) && sleep(ctx, pause) {
			continue
		}
		// The watch of a missing ConfigMap or Secret wakes the worker when it appears.
		w.m.cfg.Objects.Hold(w.uid, volumeRefs(pod))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, e := range unjoin(err) {
			w.event(pod, v1.EventTypeWarning, "FailedMount", e.Error())
		}
		// As in the kubelet: elsewhere there is room, and whoever made the Pod makes another.
		if full := (*csi.LimitError)(nil); errors.As(err, &full) {
			w.m.EvictFor(w.uid, Eviction{Reason: "VolumeAttachmentLimitExceeded", Message: err.Error()})
			return err
		}
		if w.mounted {
			if stack := guard.Stack(err); stack != nil {
				w.m.cfg.Logger.Error("the node agent panicked while it brought a pod's volumes up to date", "pod", pod.Name, "namespace", pod.Namespace, "error", err, "stack", string(stack))
			}
			// The containers run on with the volumes as they are.
			w.renewAt = now.Add(firstPause)
			return nil
		}
		return fmt.Errorf("set up volumes: %w", err)
	}
}

// perhapsTooEarly tells whether an error may be due to the authorizer being late.
func perhapsTooEarly(err error) bool {
	for _, e := range unjoin(err) {
		if apierrors.IsForbidden(e) || apierrors.IsNotFound(e) {
			return true
		}
	}
	return false
}

func unjoin(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// retryConfig ends the pauses of containers that wait for a ConfigMap or Secret:
// it may be there now.
func (w *worker) retryConfig() {
	for name, why := range w.waiting {
		if why.Reason == reasonConfig {
			delete(w.retryAt, name)
		}
	}
}

// ensureProbes starts the probes of containers that run and ends those of others.
func (w *worker) ensureProbes(ctx context.Context, pod *v1.Pod, view *observe.Pod) {
	keep := map[string]bool{}
	ip := ""
	if ips := w.podIPs(pod, view); len(ips) > 0 {
		ip = ips[0]
	}
	for _, run := range view.Running() {
		c, restartable := probed(pod, run.Name)
		if c == nil {
			continue
		}
		keep[run.ID] = true
		t := probe.Target{Pod: pod, Container: c, ContainerID: run.ID, StartedAt: run.StartedAt, PodIP: ip}
		list := pod.Status.ContainerStatuses
		if restartable {
			list = pod.Status.InitContainerStatuses
		}
		for i := range list {
			if list[i].ContainerID == w.m.cfg.RuntimeName+"://"+run.ID {
				t.WasReady = list[i].Ready
				t.WasStarted = list[i].Started != nil && *list[i].Started
			}
		}
		w.m.cfg.Probes.Ensure(w.m.ctx, t)
	}
	w.m.cfg.Probes.Keep(w.uid, keep)
}

// probed finds a container that may have probes: a regular one or a sidecar.
func probed(pod *v1.Pod, name string) (c *v1.Container, sidecar bool) {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i], false
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.Name == name && isSidecar(c) {
			return c, true
		}
	}
	return nil, false
}

func isSidecar(c *v1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
}

// report computes the status of a Pod that has not ended and hands it on if it
// is new. Though no container may run any more, its phase is not final yet: the
// scheduler would send another Pod in its place before there is room.
func (w *worker) report(pod *v1.Pod, view *observe.Pod) {
	st := w.compute(pod, view, false)
	old, known := w.lastStatus()
	if !known {
		old = pod.Status
	}
	if terminal(st.Phase) && !terminal(old.Phase) {
		st.Phase, st.Reason, st.Message = cmp.Or(old.Phase, v1.PodPending), old.Reason, old.Message
	}
	if w.remember(st) {
		w.m.cfg.Reporter.Set(pod, st)
	}
}

func (w *worker) compute(pod *v1.Pod, view *observe.Pod, over bool) v1.PodStatus {
	old, ok := w.lastStatus()
	if !ok {
		old = pod.Status
	}
	return status.Compute(status.Input{
		Pod: pod, Old: old, View: view,
		RuntimeName: w.m.cfg.RuntimeName,
		Probes: func(id string) status.Probes {
			h := w.m.cfg.Probes.Health(id)
			return status.Probes{Started: h.Started, Ready: h.Ready}
		},
		Resize:   w.resizing.conditions(),
		Devices:  func(c *v1.Container) []v1.ResourceStatus { return w.deviceStatus(pod, c) },
		Has:      w.containerHas,
		PodHas:   func() spec.PodLimits { return w.sandboxHas(pod, view) },
		Waiting:  w.waiting,
		Failed:   w.verdict,
		Terminal: !w.life.now().Starts(),
		Over:     over,
		HostIPs:  w.m.cfg.HostIPs,
		Now:      w.m.cfg.Clock.Now(),
	})
}

// remember keeps a status and tells whether it differs from the one before, or
// from the one that the API server has.
func (w *worker) remember(st v1.PodStatus) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	same := w.hasKnown && equality.Semantic.DeepEqual(w.known, st)
	w.known, w.hasKnown = st, true
	return !same || !equality.Semantic.DeepEqual(w.pod.Status, st)
}

// sooner is the earlier of two moments, of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
