package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RunPodSandbox implements CRI. The Pod's cgroup is made first, and whose the
// sandbox is written down for the CNI plugin, which the runtime runs meanwhile.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	uid := config.GetMetadata().GetUid()
	if err := r.refuseSandbox(ctx, config, handler); err != nil {
		return "", err
	}
	own, onNode := r.sandboxConfig(config)
	if err := r.claim(ctx, uid); err != nil {
		return "", err
	}
	defer r.release(uid)
	if err := r.makePodCgroup(uid, config.GetLinux()); err != nil {
		return "", err
	}
	if err := r.cfg.Records.write(uid, onNode); err != nil {
		return "", fmt.Errorf("write down for the network whose Pod %s is: %w", uid, err)
	}
	resp, err := invoke(ctx, r.conn, 2*patience, r.conn.runtime.RunPodSandbox, &runtimeapi.RunPodSandboxRequest{Config: own, RuntimeHandler: handler})
	if err != nil {
		return "", err
	}
	id := resp.GetPodSandboxId()
	r.own(id, uid)
	if err := r.accept(ctx, id, uid, onNode); err != nil {
		ctx = context.WithoutCancel(ctx)
		if rerr := r.removeSandbox(ctx, id); rerr != nil {
			return "", errors.Join(err, rerr)
		}
		return "", errors.Join(err, r.clearLast(ctx, uid))
	}
	return id, nil
}

// sandboxConfig is what the runtime is told in place of a configuration, and
// whether the Pod is on the node's network.
func (r *Runtime) sandboxConfig(config *runtimeapi.PodSandboxConfig) (own *runtimeapi.PodSandboxConfig, onNode bool) {
	own = proto.CloneOf(config)
	own.Labels = r.cfg.Owner.mark(own.GetLabels())
	delete(own.Labels, labelNetwork) // a Pod may have any label itself
	own.PortMappings = nil           // hostPorts are served by the node's data plane
	sc := own.GetLinux().GetSecurityContext()
	if onNode = sc.GetNamespaceOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE; onNode {
		// The runtime's own network is the machine's. The CNI plugin puts the
		// node's in the place of the one that the runtime makes.
		sc.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
		own.Labels[labelNetwork] = networkOfNode
		own.Hostname = r.cfg.Hostname
	}
	r.translateSeccomp(sc.GetSeccomp())
	// Kubelets limit the huge pages of Pods in cgroups alone, as is done here.
	for _, res := range []*runtimeapi.LinuxContainerResources{own.GetLinux().GetResources(), own.GetLinux().GetOverhead()} {
		if res != nil {
			res.HugepageLimits = nil
		}
	}
	return own, onNode
}

// accept looks whether the sandbox is in the node's network, and brings it into
// the node's cgroup.
func (r *Runtime) accept(ctx context.Context, id, uid string, onNode bool) error {
	resp, err := r.sandboxStatus(ctx, id, true)
	if err != nil {
		return err
	}
	if err := r.checkAddresses(resp.GetStatus(), onNode); err != nil {
		return err
	}
	return r.adopt(uid, processOf(resp.GetInfo()))
}

// checkAddresses refuses a sandbox of another network: nobody could reach it.
func (r *Runtime) checkAddresses(st *runtimeapi.PodSandboxStatus, onNode bool) error {
	texts := []string{st.GetNetwork().GetIp()}
	for _, more := range st.GetNetwork().GetAdditionalIps() {
		texts = append(texts, more.GetIp())
	}
	for _, text := range texts {
		ip, err := netip.ParseAddr(text)
		inRange := slices.ContainsFunc(r.cfg.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(ip) })
		if err != nil || onNode && !slices.Contains(r.cfg.Addresses, ip) || !onNode && !inRange {
			return fmt.Errorf("the container runtime at %s gave the Pod the address %q, which is none of node %s (%v): its network plugin is another one than Minato's; see `minato cni install --help`",
				r.cfg.Endpoint, text, r.cfg.Owner.Node, r.cfg.PodCIDRs)
		}
	}
	return nil
}

// StopPodSandbox implements CRI.
func (r *Runtime) StopPodSandbox(ctx context.Context, id string) error {
	_, err := invoke(ctx, r.conn, patience, r.conn.runtime.StopPodSandbox, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	return err
}

// RemovePodSandbox implements CRI. With the last one of a Pod, what was made for
// the Pod beside the runtime goes, too.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	uid := r.ownerOf(ctx, id)
	if err := r.removeSandbox(ctx, id); err != nil {
		return err
	}
	if uid == "" || r.tryClaim(uid) != nil {
		return nil // another sandbox of the Pod is being made
	}
	defer r.release(uid)
	return r.clearLast(ctx, uid)
}

func (r *Runtime) removeSandbox(ctx context.Context, id string) error {
	if _, err := invoke(ctx, r.conn, patience, r.conn.runtime.RemovePodSandbox, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		return err
	}
	r.disown(id)
	return nil
}

// clearLast removes what was made beside the runtime for a Pod that is claimed and
// has no sandbox any more.
func (r *Runtime) clearLast(ctx context.Context, uid string) error {
	left, err := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{labelPodUID: uid}})
	if err != nil || len(left) > 0 {
		return nil // what is left is cleared with the last one, or by the next sweep
	}
	return r.clearPod(ctx, uid)
}

// PodSandboxStatus implements CRI.
func (r *Runtime) PodSandboxStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	resp, err := r.sandboxStatus(ctx, id, verbose)
	if err != nil {
		return nil, err
	}
	if st := resp.GetStatus(); st.GetLabels()[labelNetwork] == networkOfNode {
		if opts := st.GetLinux().GetNamespaces().GetOptions(); opts != nil {
			opts.Network = runtimeapi.NamespaceMode_NODE
		}
		st.Network = &runtimeapi.PodSandboxNetworkStatus{} // the node's addresses are the node's
	}
	return resp, nil
}

// sandboxStatus is the status in the runtime's own words.
func (r *Runtime) sandboxStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	resp, err := invoke(ctx, r.conn, patience, r.conn.runtime.PodSandboxStatus, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: verbose})
	if err == nil && resp.GetStatus() == nil {
		err = fmt.Errorf("status of pod sandbox %s: the container runtime gives none", id)
	}
	return resp, err
}

// UpdatePodSandboxResources implements CRI: it changes the limits of the Pod's
// cgroup, which is ours. Runtimes that want to know are told.
func (r *Runtime) UpdatePodSandboxResources(ctx context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	uid := r.ownerOf(ctx, req.GetPodSandboxId())
	if uid == "" {
		return nil, fmt.Errorf("update resources of pod sandbox %s: it is none of this node's", req.GetPodSandboxId())
	}
	if err := r.limitPod(uid, &runtimeapi.LinuxPodSandboxConfig{Resources: req.GetResources(), Overhead: req.GetOverhead()}); err != nil {
		return nil, fmt.Errorf("update resources of pod sandbox %s: %w", req.GetPodSandboxId(), err)
	}
	resp, err := invoke(ctx, r.conn, patience, r.conn.runtime.UpdatePodSandboxResources, req)
	if unknownMethod(err) {
		return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
	}
	return resp, err
}

// verbose is what containerd and CRI-O tell of a sandbox beside the CRI.
type verbose struct {
	PID         int `json:"pid"`
	RuntimeSpec struct {
		Linux struct {
			Namespaces []struct{ Type, Path string } `json:"namespaces"`
		} `json:"linux"`
	} `json:"runtimeSpec"`
}

func readVerbose(info map[string]string) verbose {
	var v verbose
	if json.Unmarshal([]byte(info["info"]), &v) != nil {
		return verbose{}
	}
	return v
}

// processOf is the sandbox's process; 0 where the runtime does not tell.
func processOf(info map[string]string) int { return readVerbose(info).PID }

// netnsOf is the path of the sandbox's network namespace on the machine; empty
// where the runtime does not tell.
func netnsOf(info map[string]string) string {
	for _, n := range readVerbose(info).RuntimeSpec.Linux.Namespaces {
		if n.Type == "network" {
			return n.Path
		}
	}
	return ""
}
