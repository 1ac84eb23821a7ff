package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/allocation"
	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// minSandboxAge is how old a sandbox must be before another one replaces it, so
// that sandboxes that fail at once are not made without a pause.
const minSandboxAge = time.Second

// newSandbox makes a sandbox, and stops the one that it replaces.
func (w *worker) newSandbox(ctx context.Context, pod *v1.Pod, plan Plan) error {
	if old := plan.Replace; old != nil {
		if age := w.m.cfg.Clock.Since(old.CreatedAt); 0 <= age && age < minSandboxAge { // less where the clock was set back
			return fmt.Errorf("sandbox %s was lost or has no address within %v of its start; will try again", old.ID, minSandboxAge)
		}
		w.event(pod, v1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
		if err := w.m.cfg.Runtime.StopPodSandbox(context.WithoutCancel(ctx), old.ID); err != nil {
			return fmt.Errorf("stop sandbox %s: %w", old.ID, err)
		}
	}
	config, err := w.sandboxConfig(pod, plan.Attempt)
	if err != nil {
		w.event(pod, v1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		return err
	}
	_, warnings := w.m.cfg.Resolver().DNS(pod)
	for _, text := range warnings {
		w.event(pod, v1.EventTypeWarning, "DNSConfigForming", text)
	}
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	handler, err := w.runtimeHandler(ctx, pod)
	if err == nil {
		_, err = w.m.cfg.Runtime.RunPodSandbox(context.WithoutCancel(ctx), config, handler)
	}
	if err != nil {
		w.event(pod, v1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		return fmt.Errorf("create sandbox: %w", err)
	}
	return nil
}

// runtimeHandler is what the runtime knows the Pod's RuntimeClass by; empty for
// a Pod that names none.
func (w *worker) runtimeHandler(ctx context.Context, pod *v1.Pod) (string, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	handler, err := w.m.cfg.RuntimeClass(ctx, *name)
	if err != nil {
		return "", fmt.Errorf("look up RuntimeClass %s: %w", *name, err)
	}
	return handler, nil
}

func (w *worker) sandboxConfig(pod *v1.Pod, attempt uint32) (*runtimeapi.PodSandboxConfig, error) {
	r := w.m.cfg.Resolver()
	dns, _ := r.DNS(pod)
	parent := ""
	if w.m.cfg.CgroupParent != "" {
		parent = filepath.Join("/", w.m.cfg.CgroupParent, "pod"+string(w.uid))
	}
	users, err := w.users(pod)
	if err != nil {
		return nil, err
	}
	return spec.Sandbox(spec.SandboxInput{
		Pod: pod, Attempt: attempt, LogDir: w.logDir(pod),
		CgroupParent:  parent,
		ClusterDomain: r.Domain,
		DNS:           dns,
		Users:         users,
		HugePages:     w.m.cfg.HugePages,
	})
}

// users is the Pod's user namespace; nil is the node's.
func (w *worker) users(pod *v1.Pod) (*runtimeapi.UserNamespace, error) {
	if !spec.OwnUsers(pod) {
		return nil, nil
	}
	first, err := w.m.cfg.Allocations.Users(w.uid, w.m.cfg.Users)
	if err != nil {
		return nil, fmt.Errorf("user namespace: %w", err)
	}
	return spec.UserNamespace(first, allocation.UsersPerPod), nil
}

func (w *worker) logDir(pod *v1.Pod) string {
	return filepath.Join(w.m.cfg.LogDir, spec.LogDir(pod))
}

func (w *worker) podIPs(pod *v1.Pod, view *observe.Pod) []string {
	if pod.Spec.HostNetwork {
		return w.m.cfg.HostIPs
	}
	return view.IPs()
}

// keepRuns is how many runs of a container are kept: the present one, and the
// one before for its logs and exit code.
const keepRuns = 2

// prune removes older runs of containers, and old sandboxes without containers.
func (w *worker) prune(ctx context.Context, pod *v1.Pod, view *observe.Pod) {
	seen := map[string]int{}
	used := map[string]bool{}
	for i := range view.Containers {
		c := &view.Containers[i]
		if seen[c.Name]++; seen[c.Name] <= keepRuns || c.Running() {
			used[c.SandboxID] = true
			continue
		}
		if err := w.m.cfg.Runtime.RemoveContainer(ctx, c.ID); err != nil {
			w.m.cfg.Logger.Warn("old container cannot be removed", "pod", pod.Name, "container", c.Name, "error", err)
			used[c.SandboxID] = true
			continue
		}
		w.mu.Lock()
		delete(w.killing, c.ID)
		w.mu.Unlock()
		w.forgetRun(c.ID)
		os.Remove(filepath.Join(w.logDir(pod), spec.LogPath(c.Name, c.Attempt)))
		os.Remove(w.messageFile(c.Name, c.Attempt))
		w.unlinkLogs(view, *c)
	}
	for i := range view.Sandboxes {
		s := &view.Sandboxes[i]
		if i == 0 || used[s.ID] {
			continue
		}
		if err := w.m.cfg.Runtime.RemovePodSandbox(ctx, s.ID); err != nil {
			w.m.cfg.Logger.Warn("old sandbox cannot be removed", "pod", pod.Name, "error", err)
		}
	}
}
