package pod

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"minato/internal/node/allocation"
	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// Update is a container that gets other resources while it runs.
type Update struct {
	Run  *observe.Container
	Spec *v1.Container
	// Wants and Has are what it gets and what it was given last, as spec.Given has them.
	Wants, Has v1.ResourceRequirements
}

// resizing is what a worker keeps of its Pod's resizes.
type resizing struct {
	// pending and progress are the Pod's conditions of these types.
	pending, progress *v1.PodCondition
	// stopped are the runs, by ID, that were stopped only to be started with other
	// resources: their end counts as no failure and as no success.
	stopped map[string]bool
	// lookAgain is when a decision that was put off is due at the latest, retryAt
	// when to try again to put one into effect.
	lookAgain, retryAt time.Time
	failures           int
}

// recall takes over what an earlier run of the agent has told of a Pod.
func recall(pod *v1.Pod) resizing {
	s := resizing{stopped: map[string]bool{}}
	_, s.pending = podutil.GetPodConditionFromList(pod.Status.Conditions, v1.PodResizePending)
	_, s.progress = podutil.GetPodConditionFromList(pod.Status.Conditions, v1.PodResizeInProgress)
	return s
}

func resizeCondition(t v1.PodConditionType, reason, message string, generation int64) *v1.PodCondition {
	return &v1.PodCondition{Type: t, Status: v1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: generation}
}

// conditions are those of the Pod's resizes.
func (s *resizing) conditions() []v1.PodCondition {
	var out []v1.PodCondition
	for _, c := range []*v1.PodCondition{s.pending, s.progress} {
		if c != nil {
			out = append(out, *c)
		}
	}
	return out
}

// noteResize keeps the condition PodResizeInProgress up to what the plan finds.
func (w *worker) noteResize(pod *v1.Pod, plan Plan) {
	s := &w.resizing
	switch {
	case plan.Resizing && s.progress == nil:
		s.progress = resizeCondition(v1.PodResizeInProgress, "", "", pod.Generation)
	case !plan.Resizing && s.progress != nil:
		w.event(pod, v1.EventTypeNormal, "ResizeCompleted", resizeMessage("Pod resize completed", pod, s.progress.ObservedGeneration, ""))
		s.progress, s.failures, s.retryAt = nil, 0, time.Time{}
	}
}

// resizeMessage is the text of an event, kubelet's: what is told, and the
// resources that it is about.
func resizeMessage(text string, pod *v1.Pod, generation int64, trouble string) string {
	type container struct {
		Name      string                  `json:"name"`
		Resources v1.ResourceRequirements `json:"resources"`
	}
	summary := struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}{Generation: generation, Error: trouble}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		summary.InitContainers = append(summary.InitContainers, container{c.Name, c.Resources})
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		summary.Containers = append(summary.Containers, container{c.Name, c.Resources})
	}
	details, err := json.Marshal(summary)
	if err != nil { // quantities always encode
		return text
	}
	return text + ": " + string(details)
}

// containerHas is what a run of a container was given last.
func (w *worker) containerHas(c *v1.Container, run *observe.Container) v1.ResourceRequirements {
	r, _ := w.m.cfg.Allocations.Get(w.uid)
	if has, changed := r.Containers[run.ID]; changed {
		return has
	}
	return spec.Created(w.latest(), c, run.Annotations)
}

// forgetRun drops what is kept of a run that was removed.
func (w *worker) forgetRun(id string) {
	delete(w.resizing.stopped, id)
	delete(w.replaced, id)
	if r, _ := w.m.cfg.Allocations.Get(w.uid); len(r.Containers) == 0 {
		return
	}
	if err := w.m.amend(w.uid, func(r allocation.Record) allocation.Record {
		return r.Forget(func(known string) bool { return known == id })
	}); err != nil {
		w.m.cfg.Logger.Warn("what is recorded of a container that was removed cannot be dropped", "container", id, "error", err)
	}
}

// sandboxHas is what the Pod's cgroup was given last.
func (w *worker) sandboxHas(pod *v1.Pod, view *observe.Pod) spec.PodLimits {
	sandbox := view.Sandbox()
	r, _ := w.m.cfg.Allocations.Get(w.uid)
	if has, changed := r.Sandboxes[sandbox.ID]; changed {
		return has
	}
	if has, told := spec.PodLimitsCreated(sandbox.Annotations); told {
		return has
	}
	// A sandbox of an earlier version has what its containers were created with.
	first := spec.AllocationOf(pod)
	for name := range first {
		if run := view.Latest(name); run != nil && run.SandboxID == sandbox.ID {
			first[name] = spec.Created(pod, spec.FindContainer(pod, name), run.Annotations)
		}
	}
	pod, _ = first.Apply(pod)
	return spec.PodLimitsOf(pod)
}

// resize puts the Pod's resources into effect. acted says that something has
// changed; next is when to try again what failed.
func (w *worker) resize(ctx context.Context, pod *v1.Pod, view *observe.Pod, plan Plan) (acted bool, next time.Time) {
	s, now := &w.resizing, w.m.cfg.Clock.Now()
	if now.Before(s.retryAt) {
		return false, s.retryAt
	}
	a := actuation{w: w, pod: pod, sandbox: view.Sandbox().ID, has: w.sandboxHas(pod, view), want: spec.PodLimitsOf(pod), updates: slices.Clone(plan.Update)}
	err := a.run(ctx, plan)
	if err == nil || ctx.Err() != nil {
		s.failures, s.retryAt = 0, time.Time{}
		return a.acted, next
	}
	s.failures++
	s.retryAt = now.Add(min(firstPause, 500*time.Millisecond<<min(s.failures, 12)))
	if c := s.progress; c == nil || c.Message != err.Error() {
		generation := pod.Generation
		if c != nil {
			generation = c.ObservedGeneration
		}
		s.progress = resizeCondition(v1.PodResizeInProgress, v1.PodReasonError, err.Error(), generation)
		w.event(pod, v1.EventTypeWarning, "ResizeError", resizeMessage("Pod resize error", pod, generation, err.Error()))
	}
	return a.acted, s.retryAt
}

// actuation changes the limits of a Pod's cgroups. At every moment the Pod's has
// room for its containers': what grows, grows first for the Pod, and what shrinks
// does so first for the containers, the ones that shrink before those that grow
// (see doPodResizeAction in the kubelet's pkg/kubelet/kuberuntime).
type actuation struct {
	w         *worker
	pod       *v1.Pod
	sandbox   string
	has, want spec.PodLimits
	updates   []Update
	acted     bool
}

func (a *actuation) run(ctx context.Context, plan Plan) error {
	if err := a.checkMemory(ctx); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	for _, name := range spec.Resizable() {
		if err := a.setPod(ctx, name, a.has.Wider(a.want)); err != nil {
			return err
		}
		slices.SortStableFunc(a.updates, func(x, y Update) int { return cmp.Compare(growth(x, name), growth(y, name)) })
		for i := range a.updates {
			if err := a.setContainer(ctx, name, &a.updates[i]); err != nil {
				return err
			}
		}
		if plan.Restarting {
			continue // the Pod's follow when the containers that were stopped run again
		}
		if err := a.setPod(ctx, name, a.want); err != nil {
			return err
		}
	}
	return nil
}

// growth is negative for a container that gets less of a resource: its limit
// decides, or its request where the limit stays.
func growth(u Update, name v1.ResourceName) int {
	limit, request := u.Wants.Limits[name], u.Wants.Requests[name]
	return cmp.Or(limit.Cmp(u.Has.Limits[name]), request.Cmp(u.Has.Requests[name]))
}

// setPod gives the Pod's cgroup limits of one resource.
func (a *actuation) setPod(ctx context.Context, name v1.ResourceName, limits spec.PodLimits) error {
	next := a.has
	if name == v1.ResourceMemory {
		next.Memory = limits.Memory
	} else {
		next.CPUShares, next.CPUQuota = limits.CPUShares, limits.CPUQuota
	}
	if next == a.has {
		return nil
	}
	if _, err := a.w.m.cfg.Runtime.UpdatePodSandboxResources(ctx, next.Update(a.sandbox, a.pod, name)); err != nil {
		return err
	}
	if err := a.w.m.amend(a.w.uid, func(r allocation.Record) allocation.Record { return r.WithSandbox(a.sandbox, next) }); err != nil {
		return err
	}
	a.has, a.acted = next, true
	return nil
}

// setContainer gives a container what it is to have of one resource.
func (a *actuation) setContainer(ctx context.Context, name v1.ResourceName, u *Update) error {
	if spec.Same(u.Has, u.Wants, name) {
		return nil
	}
	c := *u.Spec
	c.Resources = spec.With(u.Has, u.Wants, name)
	limits := &runtimeapi.ContainerResources{Linux: spec.Limits(a.pod, &c, a.w.m.cfg.Memory, a.w.m.cfg.HugePages)}
	if err := a.w.m.cfg.Runtime.UpdateContainerResources(ctx, u.Run.ID, limits); err != nil {
		return err
	}
	if err := a.w.m.amend(a.w.uid, func(r allocation.Record) allocation.Record { return r.WithContainer(u.Run.ID, c.Resources) }); err != nil {
		return err
	}
	u.Has, a.acted = c.Resources, true
	return nil
}

// checkMemory refuses, before anything is changed, limits of memory that are
// below what is in use: the kernel would refuse them, or end the container.
func (a *actuation) checkMemory(ctx context.Context) error {
	lower := map[string]int64{}
	for _, u := range a.updates {
		limit, had := u.Wants.Limits[v1.ResourceMemory], u.Has.Limits[v1.ResourceMemory]
		if !limit.IsZero() && (had.IsZero() || limit.Cmp(had) < 0) {
			lower[u.Run.ID] = limit.Value()
		}
	}
	lowersPod := a.has.LowersMemory(a.want)
	if len(lower) == 0 && !lowersPod {
		return nil
	}
	stats, err := a.w.m.cfg.Runtime.PodSandboxStats(ctx, a.sandbox)
	if err != nil {
		return fmt.Errorf("read the memory in use: %w", err)
	}
	var errs []error
	if lowersPod {
		if used := stats.GetLinux().GetMemory().GetUsageBytes(); used == nil {
			errs = append(errs, errors.New("missing pod memory usage"))
		} else if used.Value >= uint64(a.want.Memory) {
			errs = append(errs, fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", a.want.Memory, used.Value))
		}
	}
	for _, s := range stats.GetLinux().GetContainers() {
		limit, lowered := lower[s.GetAttributes().GetId()]
		if !lowered {
			continue
		}
		name := s.GetAttributes().GetMetadata().GetName()
		if used := s.GetMemory().GetUsageBytes(); used == nil {
			errs = append(errs, fmt.Errorf("missing container %q memory usage", name))
		} else if used.Value >= uint64(limit) {
			errs = append(errs, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", name, limit, used.Value))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot decrease memory limits: %w", err)
	}
	return nil
}
