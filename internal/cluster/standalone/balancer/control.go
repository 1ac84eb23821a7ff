package balancer

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/loadbalancer"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

// compete gives Services their addresses whenever this process is the one of the cluster that does.
func (b *balancer) compete(ctx context.Context) error {
	if err := b.ensureNamespace(ctx); err != nil {
		return err
	}
	l := foreign.Leader{
		Client: b.electing, Namespace: config.Namespace, Name: component, Identity: b.cfg.Node, Work: b.control,
		Begins: "This process gives Services their addresses from now on", Logger: b.log,
	}
	return l.Run(ctx)
}

// control gives Services their addresses until ctx ends.
func (b *balancer) control(ctx context.Context) error {
	if err := b.ensureDefinitions(ctx); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(b.client, 0, informers.WithTransform(b.cfg.keep))
	namespaces := factory.Core().V1().Namespaces()
	namespaces.Informer() // Start only starts what somebody has asked for by then
	c, err := loadbalancer.New(loadbalancer.Config{
		Client: b.client, Dynamic: b.objects, Services: b.factory.Core().V1().Services(), Namespaces: namespaces,
		Settings: b.settings, Class: b.cfg.Class, Exclusive: b.cfg.Class != "", Events: b.events, Pressure: b.pressure, Logger: b.log,
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	b.controller.Store(c)
	defer b.controller.Store(nil)
	return c.Run(ctx)
}

// ensureNamespace makes the namespace of the configuration and of the Lease. Who may not do that has it made by somebody else.
func (b *balancer) ensureNamespace(ctx context.Context) error {
	namespaces := b.client.CoreV1().Namespaces()
	_, err := namespaces.Get(ctx, config.Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: config.Namespace}}, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsForbidden(err) {
		return fmt.Errorf("make namespace %s: %w", config.Namespace, err)
	}
	return nil
}

// ensureDefinitions makes the definitions of MetalLB's kinds that are absent. Those that are there stay as they are.
func (b *balancer) ensureDefinitions(ctx context.Context) error {
	all, err := metallb.CustomResourceDefinitions()
	if err != nil {
		return err
	}
	client := b.objects.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"))
	for _, crd := range all {
		_, err := client.Get(ctx, crd.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			var object map[string]any
			if object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(crd); err != nil {
				return fmt.Errorf("encode the definition %s: %w", crd.Name, err)
			}
			unstructured.RemoveNestedField(object, "status")
			_, err = client.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
		}
		switch {
		case apierrors.IsForbidden(err):
			b.log.Warn("A definition of MetalLB's kinds can't be looked at or made; apply those of deploy/loadbalancer.yaml", "name", crd.Name, "error", err)
		case err != nil && !apierrors.IsAlreadyExists(err):
			return fmt.Errorf("make the definition %s: %w", crd.Name, err)
		}
	}
	return nil
}
