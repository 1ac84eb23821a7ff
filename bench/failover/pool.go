package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// manyLabel is benchLabel's counterpart on the many Services.
const manyLabel = "bench.minato.local/many"

func (s *system) manyOptions() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: manyLabel + "=" + s.name}
}

func (s *system) manyPool() string { return s.name + "-many" }

func (c *cluster) metallbKind(resource string) dynamic.ResourceInterface {
	return c.objects.Resource(schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: resource}).Namespace(metallbNamespace)
}

func metallbObject(kind, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "metallb.io/v1beta1", "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": metallbNamespace},
		"spec":     spec,
	}}
}

// announceMany has the pool announced that giveMany makes.
func (c *cluster) announceMany(ctx context.Context, s *system) error {
	o := metallbObject("L2Advertisement", s.manyPool(), map[string]any{"ipAddressPools": []any{s.manyPool()}})
	_, err := c.metallbKind("l2advertisements").Create(ctx, o, metav1.CreateOptions{})
	return err
}

// giveMany makes the pool that the many Services wait for.
func (c *cluster) giveMany(ctx context.Context, s *system) error {
	o := metallbObject("IPAddressPool", s.manyPool(), map[string]any{
		"addresses": []any{manyPools[s.name].String()},
		"serviceAllocation": map[string]any{
			"serviceSelectors": []any{map[string]any{"matchLabels": map[string]any{manyLabel: s.name}}},
		},
	})
	_, err := c.metallbKind("ipaddresspools").Create(ctx, o, metav1.CreateOptions{})
	return err
}

// withdraw takes the pool back and returns when no Service has an address of it any more.
func (c *cluster) withdraw(ctx context.Context, s *system) error {
	for _, resource := range []string{"ipaddresspools", "l2advertisements"} {
		err := c.metallbKind(resource).Delete(ctx, s.manyPool(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return c.await(ctx, "the return of "+s.name+"'s addresses", func(ctx context.Context) (bool, error) {
		list, err := c.api.CoreV1().Services(namespace).List(ctx, s.manyOptions())
		if err != nil {
			return false, err
		}
		left := 0
		for i := range list.Items {
			if addressOf(&list.Items[i]).IsValid() {
				left++
			}
		}
		if left == 0 {
			return true, nil
		}
		select {
		case <-time.After(time.Second): // a list of them all is no light request
		case <-ctx.Done():
		}
		return false, errors.Join(fmt.Errorf("%d Services still have one", left), ctx.Err())
	})
}
