package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/runtime/oci"
)

// PodCgroup is where the processes of all containers of a Pod are counted.
func (r *Runtime) PodCgroup(uid string) host.Cgroup { return r.cfg.Cgroup.Child("pod" + uid) }

// ContainerCgroup is where a container's processes are counted.
func (r *Runtime) ContainerCgroup(id string) (host.Cgroup, error) {
	uid := r.known(id)
	if uid == "" {
		return host.Cgroup{}, fmt.Errorf("container %s: it is none of this node's", id)
	}
	return r.PodCgroup(uid).Child(id), nil
}

// makePodCgroup makes the cgroup that the runtime puts a Pod's containers into.
func (r *Runtime) makePodCgroup(uid string, config *runtimeapi.LinuxPodSandboxConfig) error {
	if want := "/" + r.PodCgroup(uid).Path; uid == "" || strings.ContainsAny(uid, "/\x00") || filepath.Clean(config.GetCgroupParent()) != want {
		return fmt.Errorf("cgroup_parent %q of Pod %q: this Pod's cgroup is %s", config.GetCgroupParent(), uid, want)
	}
	if err := r.PodCgroup(uid).Create(); err != nil {
		return err
	}
	return r.limitPod(uid, config)
}

func (r *Runtime) limitPod(uid string, config *runtimeapi.LinuxPodSandboxConfig) error {
	return oci.LimitPod(r.cfg.Cgroup, r.cfg.Limits, uid, config)
}

// adopt brings a sandbox into the Pod's cgroup2 directory where the OCI runtime
// manages version 1 alone: with the sandbox's process its parent, the shim, from
// which all processes of the Pod's containers will come. Programs that are attached
// to the node's cgroup2 directory see their sockets then.
func (r *Runtime) adopt(uid string, pid int) error {
	if r.layout.Unified || pid == 0 {
		return nil
	}
	parent, name, err := parentOf(pid)
	if err != nil {
		return fmt.Errorf("the sandbox's process has ended at once: %w", err)
	}
	pids := []int{pid}
	if strings.Contains(name, "shim") || strings.Contains(name, "conmon") {
		pids = append(pids, parent)
	}
	procs := filepath.Join(r.PodCgroup(uid).V2(), "cgroup.procs")
	for _, p := range pids {
		if err := os.WriteFile(procs, []byte(strconv.Itoa(p)), 0o644); err != nil {
			return fmt.Errorf("move process %d of the sandbox into the Pod's cgroup: %w", p, err)
		}
	}
	return nil
}

// parentOf is a process's parent, with that one's name (proc_pid_stat(5)).
func parentOf(pid int) (parent int, name string, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 2 {
		return 0, "", fmt.Errorf("process %d has no parent", pid)
	}
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return 0, "", err
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	return parent, strings.TrimSpace(string(comm)), err
}

// emptyPatience bounds the wait for the last process of a Pod, the shim, which ends
// a moment after its sandbox.
const emptyPatience = 2 * time.Second

// clearPod removes what was made for a Pod beside the runtime.
func (r *Runtime) clearPod(ctx context.Context, uid string) error {
	if err := r.hideAllMounts(uid); err != nil {
		return err
	}
	if err := r.cfg.Records.remove(uid); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, emptyPatience)
	defer cancel()
	for {
		pids, err := r.PodCgroup(uid).Procs()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return r.PodCgroup(uid).Delete()
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil // left to the next sweep
		}
	}
}

// sweep removes what is left of Pods that the runtime knows nothing of any more, if
// that was so at the last sweep too and no sandbox of theirs is being made, which is
// not listed yet.
func (r *Runtime) sweep(ctx context.Context, sandboxes []*runtimeapi.PodSandbox) error {
	known, ids := map[string]bool{}, map[string]bool{}
	for _, sb := range sandboxes {
		known[sb.GetLabels()[labelPodUID]], ids[sb.GetId()] = true, true
	}
	entries, err := os.ReadDir(r.cfg.Cgroup.V2())
	if err != nil {
		return err
	}
	if r.cfg.Listed != nil && !r.busy() { // a sandbox that is being made has a network already
		err = r.cfg.Listed(ctx, ids)
	}
	left := map[string]bool{}
	for _, e := range entries {
		uid, ok := strings.CutPrefix(e.Name(), "pod")
		if !ok || known[uid] {
			continue
		}
		if left[uid] = true; r.left[uid] && r.tryClaim(uid) == nil {
			err = errors.Join(err, r.clearLast(ctx, uid))
			r.release(uid)
		}
	}
	r.left = left
	return err
}
