package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/controlplane/access"
)

// labelControlPlane marks the node beside which the control plane runs, as kubeadm
// marks its own. A node may not give itself a label of that domain.
//
// kubeadm's other label, node.kubernetes.io/exclude-from-external-load-balancers,
// is left out: the control plane's node is a node like any other here, and load
// balancers, which honour that label, would never announce an address from it.
const labelControlPlane = "node-role.kubernetes.io/control-plane"

// controlPlaneTaint keeps Pods that do not tolerate it off the control plane's
// node (kubeadm's taint, by --taint-control-plane).
func controlPlaneTaint() corev1.Taint {
	return corev1.Taint{Key: labelControlPlane, Effect: corev1.TaintEffectNoSchedule}
}

// roles labels the control plane's node, once for each Node object: who takes the
// label away does so until the Node, or the server, is made anew.
type roles struct {
	client kubernetes.Interface
	nodes  cache.SharedIndexInformer
	log    *slog.Logger

	labelled types.UID
}

func (s *Server) newRoles() (*roles, error) {
	client, err := kubernetes.NewForConfig(s.control.RESTConfig(access.UserParts))
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", access.UserParts, err)
	}
	return &roles{client: client, nodes: s.watch.Nodes().Informer(), log: s.log.With("part", "node-roles")}, nil
}

// run labels the node whenever its Node is new, until ctx ends.
func (r *roles) run(ctx context.Context) error {
	look := make(chan struct{}, 1)
	poke := func(o any) {
		if node, ok := o.(*corev1.Node); ok && node.Name == access.ControlPlaneNode {
			select {
			case look <- struct{}{}:
			default:
			}
		}
	}
	registration, err := r.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: poke, UpdateFunc: func(_, o any) { poke(o) },
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("follow the Node of the control plane: %w", err)
	}
	defer func() { _ = r.nodes.RemoveEventHandler(registration) }() // it fails only if the informer has stopped
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look:
		}
		// A start that `up` waits for must not fail because of a label.
		for ctx.Err() == nil {
			err := r.label(ctx)
			if err == nil {
				break
			}
			r.log.Warn("The control plane's node has no role yet; the next try is in a second", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// labelTimeout bounds the request that sets the label.
const labelTimeout = 30 * time.Second

func (r *roles) label(ctx context.Context) error {
	o, ok, err := r.nodes.GetStore().GetByKey(access.ControlPlaneNode)
	if err != nil || !ok {
		return err
	}
	node := o.(*corev1.Node)
	if r.labelled == node.UID {
		return nil
	}
	if _, has := node.Labels[labelControlPlane]; !has {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": node.UID, "labels": map[string]string{labelControlPlane: ""},
		}})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, labelTimeout)
		defer cancel()
		if _, err := r.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("label node %s as the control plane's: %w", node.Name, err)
		}
	}
	r.labelled = node.UID
	return nil
}
