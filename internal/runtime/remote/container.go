package remote

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"

	"minato/internal/runtime/oci"
)

// CreateContainer implements CRI.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	if err := r.refuseContainer(ctx, config); err != nil {
		return "", err
	}
	uid := sandbox.GetMetadata().GetUid()
	own := proto.CloneOf(config)
	own.Labels = r.cfg.Owner.mark(own.GetLabels())
	sc := own.GetLinux().GetSecurityContext()
	if o := sc.GetNamespaceOptions(); o.GetNetwork() == runtimeapi.NamespaceMode_NODE {
		o.Network = runtimeapi.NamespaceMode_POD // see sandboxConfig
	}
	r.translateSeccomp(sc.GetSeccomp())
	r.translateLimits(own.GetLinux().GetResources())
	if err := r.showMounts(uid, own); err != nil {
		return "", err
	}
	ownSandbox, _ := r.sandboxConfig(sandbox)
	resp, err := invoke(ctx, r.conn, patience, r.conn.runtime.CreateContainer, &runtimeapi.CreateContainerRequest{
		PodSandboxId: sandboxID, Config: own, SandboxConfig: ownSandbox,
	})
	if err != nil {
		return "", errors.Join(err, r.hideMounts(uid, config.GetMetadata()))
	}
	r.ownContainer(resp.GetContainerId(), uid, config.GetMetadata())
	return resp.GetContainerId(), nil
}

// translateLimits leaves out what the kubelet has for cgroup2 alone, where another
// version of cgroups limits containers, and keeps the rest within the node's limits
// there, as those of Pods are.
func (r *Runtime) translateLimits(res *runtimeapi.LinuxContainerResources) {
	if res != nil && !r.layout.Unified {
		res.Unified = nil
		res.CpuQuota = r.cfg.Limits.Within(r.layout, res.CpuQuota, res.CpuPeriod)
	}
}

// profilesDir is where the kubelet's profiles of type Localhost are on a node.
const profilesDir = "/var/lib/kubelet/seccomp"

// translateSeccomp names a profile by its path on the machine.
func (r *Runtime) translateSeccomp(p *runtimeapi.SecurityProfile) {
	if p.GetProfileType() != runtimeapi.SecurityProfile_Localhost {
		return
	}
	name := strings.TrimPrefix(strings.TrimPrefix(p.GetLocalhostRef(), "localhost/"), profilesDir+"/")
	p.LocalhostRef = filepath.Join(r.cfg.SeccompDir, filepath.Clean("/"+name))
}

// StartContainer implements CRI. A container that has started has its mounts in its
// own mount namespace: what was shown to the runtime would only keep a volume in use
// after the container's end.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	defer r.look()
	if _, err := invoke(ctx, r.conn, patience, r.conn.runtime.StartContainer, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		return err
	}
	r.mu.Lock()
	uid, of := r.owners[id], r.made[id]
	r.mu.Unlock()
	if uid == "" || of == nil {
		return nil
	}
	if err := r.hideMounts(uid, of); err != nil { // it will be tried again when the container is removed
		r.log.Warn("what was mounted to start a container can't be unmounted", "container", id, "error", err)
	}
	return nil
}

// StopContainer implements CRI. timeout is in seconds.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	defer r.look()
	_, err := invoke(ctx, r.conn, patience+time.Duration(timeout)*time.Second, r.conn.runtime.StopContainer, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: timeout})
	if missing(err) {
		return nil // gone already, as CRI wants it
	}
	return err
}

// RemoveContainer implements CRI.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	uid := r.ownerOf(ctx, id)
	var of *runtimeapi.ContainerMetadata
	if st, err := r.ContainerStatus(ctx, id, false); err == nil {
		of = st.GetStatus().GetMetadata()
	}
	if _, err := invoke(ctx, r.conn, patience, r.conn.runtime.RemoveContainer, &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil && !missing(err) {
		return err
	}
	r.disown(id)
	if uid == "" || of == nil {
		return nil
	}
	return r.hideMounts(uid, of)
}

// ContainerStatus implements CRI.
func (r *Runtime) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	resp, err := invoke(ctx, r.conn, patience, r.conn.runtime.ContainerStatus, &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: verbose})
	if err == nil && resp.GetStatus() == nil {
		err = fmt.Errorf("status of container %s: the container runtime gives none", id)
	}
	if st := resp.GetStatus(); err == nil && st.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING {
		err = r.addResources(st)
	}
	return resp, err
}

// addResources says what a container has, as its cgroup does: older runtimes don't tell, and
// others tell what was asked of them.
func (r *Runtime) addResources(st *runtimeapi.ContainerStatus) error {
	cg, err := r.ContainerCgroup(st.GetId())
	if err != nil {
		return nil // none of this node's, which is asked about when it is removed
	}
	linux, err := oci.ResourcesOf(cg, st.GetResources().GetLinux())
	if linux != nil {
		st.Resources = &runtimeapi.ContainerResources{Linux: linux}
	}
	return err
}

// UpdateContainerResources implements CRI.
func (r *Runtime) UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error {
	linux := proto.CloneOf(resources.GetLinux())
	r.translateLimits(linux)
	_, err := invoke(ctx, r.conn, patience, r.conn.runtime.UpdateContainerResources, &runtimeapi.UpdateContainerResourcesRequest{
		ContainerId: id, Linux: linux, Windows: resources.GetWindows(),
	})
	return err
}

// ReopenContainerLog implements CRI.
func (r *Runtime) ReopenContainerLog(ctx context.Context, id string) error {
	_, err := invoke(ctx, r.conn, patience, r.conn.runtime.ReopenContainerLog, &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
	return err
}

// CheckpointContainer implements CRI.
func (r *Runtime) CheckpointContainer(ctx context.Context, options *runtimeapi.CheckpointContainerRequest) error {
	_, err := invoke(ctx, r.conn, patience, r.conn.runtime.CheckpointContainer, options)
	return err
}

// ExecSync implements CRI. A command that fails gives an error of type
// utilexec.CodeExitError beside its output; one that takes too long
// context.DeadlineExceeded.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	limit := time.Duration(0)
	if timeout > 0 {
		limit = timeout + patience
	}
	resp, err := invoke(ctx, r.conn, limit, r.conn.runtime.ExecSync, &runtimeapi.ExecSyncRequest{
		ContainerId: id, Cmd: cmd, Timeout: int64((timeout + time.Second - 1) / time.Second),
	})
	if status.Code(err) == codes.DeadlineExceeded {
		err = fmt.Errorf("command %q timed out: %w: %w", strings.Join(cmd, " "), context.DeadlineExceeded, err)
	}
	if err != nil {
		return nil, nil, err
	}
	if code := resp.GetExitCode(); code != 0 {
		err = utilexec.CodeExitError{Code: int(code), Err: fmt.Errorf("command %q exited with %d: %s", strings.Join(cmd, " "), code, resp.GetStderr())}
	}
	return resp.GetStdout(), resp.GetStderr(), err
}
