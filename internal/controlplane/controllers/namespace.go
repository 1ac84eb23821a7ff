package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	namespacecontroller "k8s.io/kubernetes/pkg/controller/namespace"
)

// newNamespaceController makes the controller that empties namespaces which are
// being deleted. Upstream's constructor has it ask the API server for every
// resource there is; this one leaves out old versions, whose objects it deletes
// in today's.
func newNamespaceController(ctx context.Context, cc app.ControllerContext) (app.Controller, error) {
	const user = "namespace-controller"
	config, err := cc.ClientBuilder.Config(user)
	if err != nil {
		return nil, fmt.Errorf("client for controller %s: %w", user, err)
	}
	client, err := cc.ClientBuilder.Client(user)
	if err != nil {
		return nil, err
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("metadata client for controller %s: %w", user, err)
	}
	found, err := cc.ClientBuilder.DiscoveryClient(user)
	if err != nil {
		return nil, err
	}
	settings := cc.ComponentConfig.NamespaceController
	controller := namespacecontroller.NewNamespaceController(ctx, client, objects, found.ServerPreferredNamespacedResources,
		cc.InformerFactory.Core().V1().Namespaces(), settings.NamespaceSyncPeriod.Duration, corev1.FinalizerKubernetes)
	return loop{names.NamespaceController, func(ctx context.Context) {
		controller.Run(ctx, int(settings.ConcurrentNamespaceSyncs))
	}}, nil
}
