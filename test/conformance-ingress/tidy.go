package main

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// suiteNamespaces selects the namespaces that the suite makes.
const suiteNamespaces = "app.kubernetes.io/name=ingress-conformance"

// tidy deletes the Ingresses of namespaces that are being deleted, until the context ends. The suite asks for a namespace's
// deletion and goes on with the next scenario, which has an Ingress for the same hosts. Kubernetes of the suite's time deleted
// everything in a namespace at once; today's deletes Pods first and the rest some fifteen seconds later, and until then the
// older Ingress, whose Pods are gone, would have the hosts.
func tidy(ctx context.Context, client kubernetes.Interface) error {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		all, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: suiteNamespaces})
		if err != nil {
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		for _, ns := range all.Items {
			if ns.Status.Phase != corev1.NamespaceTerminating {
				continue
			}
			err := client.NetworkingV1().Ingresses(ns.Name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}
