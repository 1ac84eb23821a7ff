package remote

import (
	"context"
	"maps"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Labels of what nodes have made in a runtime that others may use as well.
const (
	labelCluster = "minato.cluster"
	labelNode    = "minato.node"
	// labelNetwork marks Pods on the node's network, which the runtime takes for
	// Pods with a network of their own.
	labelNetwork  = "minato.network"
	networkOfNode = "node"
	// labelPodUID is kubelet's, on sandboxes and containers.
	labelPodUID = "io.kubernetes.pod.uid"
)

// mark returns labels with those that say whose something is.
func (o Owner) mark(labels map[string]string) map[string]string {
	out := make(map[string]string, len(labels)+2)
	maps.Copy(out, labels)
	out[labelCluster] = o.Cluster
	if o.Node != "" {
		out[labelNode] = o.Node
	}
	return out
}

// own remembers whose a sandbox or a container is.
func (r *Runtime) own(id, uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners[id] = uid
}

// ownContainer remembers it of a container, with which one of the Pod it is.
func (r *Runtime) ownContainer(id, uid string, of *runtimeapi.ContainerMetadata) {
	r.own(id, uid)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made[id] = of
}

func (r *Runtime) disown(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.owners, id)
	delete(r.made, id)
	delete(r.networks, id)
}

// ownerOf is the UID of the Pod that a sandbox or a container of the node belongs
// to; empty if there is none.
func (r *Runtime) ownerOf(ctx context.Context, id string) string {
	if uid := r.known(id); uid != "" {
		return uid
	}
	if all, err := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{Id: id}); err == nil && len(all) == 1 {
		return all[0].GetLabels()[labelPodUID]
	}
	if all, err := r.ListContainers(ctx, &runtimeapi.ContainerFilter{Id: id}); err == nil && len(all) == 1 {
		return all[0].GetLabels()[labelPodUID]
	}
	return ""
}

func (r *Runtime) known(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owners[id]
}

// SelectorFlags are the flags that have crictl list what a cluster has in a runtime.
func SelectorFlags(cluster string) string { return "--label " + labelCluster + "=" + cluster }
