package pod

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/node/guard"
	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// defaultGrace is how long a container may take to end if its Pod does not say.
const defaultGrace = 30

// minGrace spares a container that ends at once on SIGTERM from SIGKILL, even
// where the Pod is deleted by force.
const minGrace = 2

// grace is how many seconds the Pod's containers have to end.
func grace(pod *v1.Pod) int64 {
	switch {
	case pod.DeletionGracePeriodSeconds != nil:
		return *pod.DeletionGracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		return *pod.Spec.TerminationGracePeriodSeconds
	}
	return defaultGrace
}

// end stops everything of a Pod, reports its last status, and, once the API
// has let go of it, removes what is left.
func (w *worker) end(ctx context.Context, pod *v1.Pod) error {
	if !w.life.now().Stopped() {
		if err := w.stop(ctx, pod); err != nil {
			return err
		}
	}
	// After the status: the containers' last words lie among the volumes.
	if !w.tornDown {
		if err := w.m.cfg.Volumes.TearDown(ctx, w.uid); err != nil {
			w.keeps(ctx, pod, err)
			// The driver of a volume may never answer, and the node need the room.
			return errors.Join(err, w.purge(ctx, pod))
		}
		w.tornDown = true
	}
	if err := w.purge(ctx, pod); err != nil {
		return err
	}
	switch st, _ := w.lastStatus(); {
	case !w.life.now().InAPI():
		return w.cleanUp(ctx)
	case pod.DeletionTimestamp != nil:
		w.m.cfg.Reporter.Finish(pod, st)
	}
	return nil
}

// keeps tells, once, why the Pod's volumes can't be given up: until then, the Pod stays.
func (w *worker) keeps(ctx context.Context, pod *v1.Pod, err error) {
	if ctx.Err() == nil && pod.Name != "" && w.keeping != err.Error() {
		w.keeping = err.Error()
		w.event(pod, v1.EventTypeWarning, "FailedUnMount", err.Error())
	}
}

// stop ends the Pod's containers and sandboxes. Once the API hears that the Pod
// has ended, the node has stopped counting it: the scheduler may send another
// one in its place at once.
func (w *worker) stop(ctx context.Context, pod *v1.Pod) error {
	view, err := w.read(ctx, pod)
	if err != nil {
		return err
	}
	tell := w.life.now().InAPI()
	if _, known := w.lastStatus(); !known && terminal(pod.Status.Phase) && len(view.Running()) == 0 {
		// The Pod had ended before this agent started, and the API server has its
		// last status.
		w.remember(pod.Status)
		tell = false
	}
	if tell {
		w.ensureProbes(ctx, pod, view)
		w.report(pod, view)
	}
	w.m.cfg.Probes.Terminating(w.uid)
	killed := make(chan error, 1)
	go func() {
		killed <- guard.Do("stop containers", func() error { return w.killAll(ctx, pod, view) })
	}()
	if err := w.follow(ctx, killed, tell); err != nil {
		return err
	}
	for i := range view.Sandboxes {
		if err := w.m.cfg.Runtime.StopPodSandbox(context.WithoutCancel(ctx), view.Sandboxes[i].ID); err != nil {
			w.event(pod, v1.EventTypeWarning, "FailedKillPod", fmt.Sprintf("error killing pod: %v", err))
			return fmt.Errorf("stop sandbox: %w", err)
		}
	}
	if view, err = w.read(ctx, pod); err != nil {
		return err
	}
	last := w.compute(pod, view, true) // with the devices that it had until now
	// Before the API hears that the Pod has ended: its claims may be another Pod's then.
	if err := w.m.cfg.Claims.Unprepare(ctx, w.uid); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.keepsClaims(pod, err)
		return err
	}
	w.m.cfg.Probes.Remove(w.uid)
	w.m.cfg.Objects.Release(w.uid)
	w.m.cfg.Devices.Release(w.uid)
	inAPI := w.life.take(stepStop).InAPI()
	w.m.wakeArriving()
	w.m.retryResizes()
	if inAPI && !terminal(pod.Status.Phase) {
		if w.remember(last) && pod.DeletionTimestamp == nil {
			w.m.cfg.Reporter.Set(pod, last)
		}
	}
	return nil
}

// follow waits until the containers are stopped and reports their status in the
// meantime: a container that is being stopped may serve until its readiness probe
// fails, and Services have to hear of that at once.
func (w *worker) follow(ctx context.Context, killed <-chan error, tell bool) error {
	woken := false
	for {
		select {
		case err := <-killed:
			if woken { // the next step may have to act on what happened
				w.poke()
			}
			return err
		case <-w.wake:
			woken = true
		}
		if !tell {
			continue
		}
		pod := w.m.granted(w.latest())
		if view, err := w.read(ctx, pod); err == nil {
			w.report(pod, view)
		}
	}
}

// cleanUp removes what the node still has of a Pod that no longer exists.
func (w *worker) cleanUp(ctx context.Context) error {
	if err := w.removeContainers(ctx); err != nil {
		return err
	}
	// Again: a step that was cut short may have made some of them anew.
	if err := w.m.cfg.Volumes.TearDown(ctx, w.uid); err != nil {
		return err
	}
	w.m.cfg.Devices.Release(w.uid)
	if err := w.m.cfg.Allocations.Remove(w.uid); err != nil {
		return err
	}
	w.m.cfg.Reporter.Forget(w.uid)
	w.life.take(stepCleared)
	return nil
}

// killAll stops all running containers: the regular ones side by side, then the
// sidecars, last one first, in the time that is left.
func (w *worker) killAll(ctx context.Context, pod *v1.Pod, view *observe.Pod) error {
	begin, allowed := w.m.cfg.Clock.Now(), grace(pod)
	if e := w.evicted(); e != nil {
		allowed = min(allowed, e.Grace)
	}
	left := func() int64 { return allowed - int64(w.m.cfg.Clock.Since(begin)/time.Second) }
	sidecars := map[string]*observe.Container{}
	var g guard.Group
	for _, run := range view.Running() {
		c := spec.FindContainer(pod, run.Name)
		if c != nil && isSidecar(c) {
			sidecars[run.Name] = run
			continue
		}
		g.Go("stop container "+run.Name, func() error { return w.kill(ctx, pod, Kill{Container: run, Spec: c}, left()) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := len(pod.Spec.InitContainers) - 1; i >= 0; i-- {
		c := &pod.Spec.InitContainers[i]
		if run := sidecars[c.Name]; run != nil {
			if err := w.kill(ctx, pod, Kill{Container: run, Spec: c}, left()); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopRound stops containers that are to be started anew with all others. As a kubelet's,
// they are given no time, and their hooks are not run.
func (w *worker) stopRound(ctx context.Context, pod *v1.Pod, kills []Kill) error {
	var g guard.Group
	for _, k := range kills {
		w.replaced[k.Container.ID] = true
		g.Go("stop container "+k.Container.Name, func() error { return w.kill(ctx, pod, k, 0) })
	}
	return g.Wait()
}

// kill stops one container: preStop hook, the stop signal, and SIGKILL when the
// seconds are over. It returns early if ctx ends, which leaves the runtime to go
// on; a later call with fewer seconds cuts that short.
func (w *worker) kill(ctx context.Context, pod *v1.Pod, k Kill, seconds int64) error {
	if k.Probe != nil && k.Probe.TerminationGracePeriodSeconds != nil && pod.DeletionTimestamp == nil {
		seconds = *k.Probe.TerminationGracePeriodSeconds
	}
	if w.begunKilling(k.Container.ID) && k.Spec != nil {
		message := k.Message
		if message == "" {
			message = "Stopping container " + k.Container.Name
		}
		w.containerEvent(pod, k.Spec, v1.EventTypeNormal, "Killing", message)
		seconds -= w.preStop(ctx, pod, k, seconds)
	}
	done := make(chan error, 1)
	go func() {
		done <- guard.Do("stop container "+k.Container.Name, func() error {
			return w.m.cfg.Runtime.StopContainer(context.WithoutCancel(ctx), k.Container.ID, max(seconds, minGrace))
		})
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("stop container %s: %w", k.Container.Name, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begunKilling tells whether this is the first attempt to stop the container.
func (w *worker) begunKilling(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := !w.killing[id]
	w.killing[id] = true
	return first
}

// preStop runs a container's hook and returns how many seconds that took.
func (w *worker) preStop(ctx context.Context, pod *v1.Pod, k Kill, seconds int64) int64 {
	l := k.Spec.Lifecycle
	if l == nil || l.PreStop == nil || seconds <= 0 {
		return 0
	}
	begin := w.m.cfg.Clock.Now()
	hctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	err := w.runHook(hctx, l.PreStop, hookTarget{container: k.Spec, id: k.Container.ID, podIPs: statusIPs(pod)})
	if err != nil && !errors.Is(err, context.Canceled) {
		w.m.cfg.Logger.Info("preStop hook failed", "pod", pod.Name, "namespace", pod.Namespace, "container", k.Spec.Name, "error", err)
		w.containerEvent(pod, k.Spec, v1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
	return int64(w.m.cfg.Clock.Since(begin) / time.Second)
}

func statusIPs(pod *v1.Pod) []string {
	var ips []string
	for _, ip := range pod.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	return ips
}

// restore makes a Pod from the labels and annotations that its containers have in
// the runtime: enough to stop them with their grace period.
func restore(view *observe.Pod) *v1.Pod {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: view.UID, Namespace: view.Namespace, Name: view.Name}}
	seen := map[string]bool{}
	for i := range view.Containers {
		c := &view.Containers[i]
		if !seen[c.Name] {
			seen[c.Name] = true
			pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: c.Name})
		}
		if s, err := strconv.ParseInt(c.Annotations[spec.AnnotationGracePeriod], 10, 64); err == nil {
			pod.Spec.TerminationGracePeriodSeconds = &s
		}
	}
	return pod
}
