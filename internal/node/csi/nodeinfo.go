package csi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// nodeIDs is the annotation of the Node in which attachers of old look up how drivers
// call it.
const nodeIDs = "csi.volume.kubernetes.io/nodeid"

// maxLimit is the largest number of volumes that a CSINode can tell.
const maxLimit = 1<<31 - 1

// nodeInfo writes what drivers say of the node to its CSINode and Node.
type nodeInfo struct {
	client kubernetes.Interface
	node   string
	mu     sync.Mutex // drivers come and go at the same time
}

// ensure makes the CSINode, empty, unless there is one.
func (n *nodeInfo) ensure(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, err := n.read(ctx)
	return err
}

// read returns the CSINode, which is made if it is missing, or is another Node's of
// the same name.
func (n *nodeInfo) read(ctx context.Context) (*storagev1.CSINode, error) {
	node, err := n.client.CoreV1().Nodes().Get(ctx, n.node, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	all := n.client.StorageV1().CSINodes()
	have, err := all.Get(ctx, n.node, metav1.GetOptions{})
	switch {
	case err == nil && !ofAnother(have, node):
		return have, nil
	case err == nil: // which the garbage collector is about to delete
		err = all.Delete(ctx, n.node, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	return all.Create(ctx, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{
		Name:            n.node,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
	}}, metav1.CreateOptions{})
}

// ofAnother tells whether a CSINode belongs to a Node that had the name before.
func ofAnother(c *storagev1.CSINode, node *v1.Node) bool {
	return slices.ContainsFunc(c.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "Node" && o.UID != node.UID })
}

// install writes what a driver says of the node.
func (n *nodeInfo) install(ctx context.Context, driver string, info *spec.NodeGetInfoResponse) error {
	if info.GetNodeId() == "" {
		return fmt.Errorf("the CSI driver %s has no nodeID for this node in its answer to NodeGetInfo", driver)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	topology := info.GetAccessibleTopology().GetSegments()
	if err := n.changeNode(ctx, func(node *v1.Node) error { return addToNode(node, driver, info.GetNodeId(), topology) }); err != nil {
		return fmt.Errorf("write what the CSI driver %s says to the Node: %w", driver, err)
	}
	entry := storagev1.CSINodeDriver{Name: driver, NodeID: info.GetNodeId()}
	for key := range topology {
		entry.TopologyKeys = append(entry.TopologyKeys, key)
	}
	slices.Sort(entry.TopologyKeys)
	entry.Allocatable = limitOf(info.GetMaxVolumesPerNode())
	if err := n.changeDrivers(ctx, driver, &entry); err != nil {
		return fmt.Errorf("write what the CSI driver %s says to the CSINode: %w", driver, err)
	}
	return nil
}

// limitOf is how the CSINode tells a driver's limit; none is zero.
func limitOf(limit int64) *storagev1.VolumeNodeResources {
	if limit <= 0 {
		return nil
	}
	count := int32(min(limit, maxLimit))
	return &storagev1.VolumeNodeResources{Count: &count}
}

// setLimit writes another limit of a driver, of which all else stays. One that is not on
// the CSINode has gone meanwhile.
func (n *nodeInfo) setLimit(ctx context.Context, driver string, limit int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	have, err := n.read(ctx)
	if err != nil {
		return err
	}
	for _, d := range have.Spec.Drivers {
		if d.Name == driver {
			d.Allocatable = limitOf(limit)
			return n.changeDrivers(ctx, driver, &d)
		}
	}
	return nil
}

// uninstall takes a driver off both.
func (n *nodeInfo) uninstall(ctx context.Context, driver string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.changeDrivers(ctx, driver, nil); err != nil {
		return err
	}
	return n.changeNode(ctx, func(node *v1.Node) error { return setNodeID(node, driver, "") })
}

// changeDrivers puts the entry of a driver in the place of the one there is; nil takes
// it away.
func (n *nodeInfo) changeDrivers(ctx context.Context, driver string, entry *storagev1.CSINodeDriver) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		have, err := n.read(ctx)
		if err != nil {
			return err
		}
		next := have.DeepCopy()
		next.Spec.Drivers = slices.DeleteFunc(next.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == driver })
		if entry != nil {
			next.Spec.Drivers = append(next.Spec.Drivers, *entry)
		}
		slices.SortFunc(next.Spec.Drivers, func(a, b storagev1.CSINodeDriver) int { return strings.Compare(a.Name, b.Name) })
		if equality.Semantic.DeepEqual(have.Spec, next.Spec) {
			return nil
		}
		_, err = n.client.StorageV1().CSINodes().Update(ctx, next, metav1.UpdateOptions{})
		return err
	})
}

// changeNode patches labels and annotations of the Node.
func (n *nodeInfo) changeNode(ctx context.Context, change func(*v1.Node) error) error {
	have, err := n.client.CoreV1().Nodes().Get(ctx, n.node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	next := have.DeepCopy()
	if err := change(next); err != nil {
		return err
	}
	labels, annotations := difference(have.Labels, next.Labels), difference(have.Annotations, next.Annotations)
	if len(labels) == 0 && len(annotations) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = n.client.CoreV1().Nodes().Patch(ctx, n.node, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// difference is a merge patch from one map to the other.
func difference(from, to map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range to {
		if old, ok := from[k]; !ok || old != v {
			out[k] = v
		}
	}
	for k := range from {
		if _, ok := to[k]; !ok {
			out[k] = nil
		}
	}
	return out
}

// addToNode labels the Node with the driver's topology, which may not contradict
// labels that are there.
func addToNode(node *v1.Node, driver, id string, topology map[string]string) error {
	for key, value := range topology {
		if have, ok := node.Labels[key]; ok && have != value {
			return fmt.Errorf("the driver says that the node has the topology %s=%s, but the Node is labelled %s=%s", key, value, key, have)
		}
		if node.Labels == nil {
			node.Labels = map[string]string{}
		}
		node.Labels[key] = value
	}
	return setNodeID(node, driver, id)
}

// setNodeID notes how a driver calls the node; an empty id takes the note away.
func setNodeID(node *v1.Node, driver, id string) error {
	ids := map[string]string{}
	if have := node.Annotations[nodeIDs]; have != "" {
		if err := json.Unmarshal([]byte(have), &ids); err != nil || ids == nil {
			ids = map[string]string{} // nobody can use it as it is
		}
	}
	if ids[driver] = id; id == "" {
		delete(ids, driver)
	}
	if len(ids) == 0 {
		delete(node.Annotations, nodeIDs)
		return nil
	}
	text, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	node.Annotations[nodeIDs] = string(text)
	return nil
}
