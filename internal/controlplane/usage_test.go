package controlplane

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistration "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"
	metricsscheme "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
)

const usageService = "v1beta1.metrics.k8s.io"

func usageClients(t *testing.T, r *running) (metricsscheme.MetricsV1beta1Interface, apiregistration.APIServiceInterface) {
	t.Helper()
	metrics, err := metricsclient.NewForConfig(r.adminConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	services, err := apiregistration.NewForConfig(r.adminConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return metrics.MetricsV1beta1(), services.APIServices()
}

// testUsage checks what metrics.k8s.io is in a cluster without nodes.
func testUsage(ctx context.Context, t *testing.T, r *running) {
	metrics, services := usageClients(t, r)
	client := clientFor(t, r.adminConfig(t))
	var service *apiregistrationv1.APIService
	eventually(t, "metrics.k8s.io is registered", func() (ok bool) {
		var err error
		service, err = services.Get(ctx, usageService, metav1.GetOptions{})
		return err == nil && available(service)
	})
	if service.Spec.Service != nil || service.Labels["kube-aggregator.kubernetes.io/automanaged"] != "" {
		t.Errorf("the APIService is %+v with labels %v", service.Spec, service.Labels)
	}
	resources, err := client.Discovery().ServerResourcesForGroupVersion("metrics.k8s.io/v1beta1")
	if err != nil || len(resources.APIResources) != 2 {
		t.Errorf("discovery: %+v, %v", resources, err)
	}
	if list, err := metrics.PodMetricses("").List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("Pods %v, %v", list, err)
	}
	if _, err := metrics.PodMetricses("default").Get(ctx, "nosuch", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a Pod that isn't there: %v", err)
	}
	if _, err := metrics.NodeMetricses().List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a selector by a field that can't be selected by: %v", err)
	}
	testUsageColumns(ctx, t, client)
	testUsageReaders(ctx, t, client)
}

// testUsageColumns checks the table that kubectl get prints, and the schema that
// kubectl explain does.
func testUsageColumns(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	raw, err := client.RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/nodes").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(ctx)
	var table metav1.Table
	if err == nil {
		err = json.Unmarshal(raw, &table)
	}
	if err != nil || len(table.ColumnDefinitions) != 4 || table.ColumnDefinitions[1].Name != "cpu" {
		t.Errorf("table %s, %v", raw, err)
	}
	raw, err = client.RESTClient().Get().AbsPath("/openapi/v3/apis/metrics.k8s.io/v1beta1").DoRaw(ctx)
	if err != nil || !strings.Contains(string(raw), "memory working set") || !strings.Contains(string(raw), `"kind":"PodMetrics"`) {
		t.Errorf("schema of %d bytes, %v", len(raw), err)
	}
}

// testUsageReaders checks that who may view may read.
func testUsageReaders(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	eventually(t, "the role view has metrics.k8s.io", func() bool {
		view, err := client.RbacV1().ClusterRoles().Get(ctx, "view", metav1.GetOptions{})
		return err == nil && allows(view, "metrics.k8s.io", "pods", "list")
	})
}

func allows(role *rbacv1.ClusterRole, group, resource, verb string) bool {
	for _, r := range role.Rules {
		has := func(list []string, want string) bool {
			return strings.Contains(","+strings.Join(list, ",")+",", ","+want+",")
		}
		if has(r.APIGroups, group) && has(r.Resources, resource) && has(r.Verbs, verb) {
			return true
		}
	}
	return false
}

func available(s *apiregistrationv1.APIService) bool {
	for _, c := range s.Status.Conditions {
		if c.Type == apiregistrationv1.Available {
			return c.Status == apiregistrationv1.ConditionTrue
		}
	}
	return false
}

// takeUsage has the APIService name a Service, as metrics-server's does, which
// nobody is behind.
func takeUsage(ctx context.Context, t *testing.T, r *running) {
	t.Helper()
	metrics, services := usageClients(t, r)
	s, err := services.Get(ctx, usageService, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: metav1.NamespaceSystem, Name: "metrics-server"}
	s.Spec.InsecureSkipTLSVerify = true
	if _, err := services.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "somebody else is asked", func() bool {
		_, err := metrics.NodeMetricses().List(ctx, metav1.ListOptions{})
		return apierrors.IsServiceUnavailable(err)
	})
}

// checkUsage checks after a restart that somebody else's server still has the
// name, and that ours has it back when theirs is gone.
func checkUsage(ctx context.Context, t *testing.T, r *running) {
	metrics, services := usageClients(t, r)
	eventually(t, "load balancing is defined", func() bool {
		select {
		case <-r.Defined():
			return true
		default:
			return false
		}
	})
	s, err := services.Get(ctx, usageService, metav1.GetOptions{})
	if err != nil || s.Spec.Service == nil {
		t.Fatalf("after a restart the APIService of somebody else is %+v, %v", s, err)
	}
	if err := services.Delete(ctx, usageService, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "metrics.k8s.io is ours again", func() bool {
		s, err := services.Get(ctx, usageService, metav1.GetOptions{})
		if err != nil || s.Spec.Service != nil {
			return false
		}
		_, err = metrics.NodeMetricses().List(ctx, metav1.ListOptions{})
		return err == nil
	})
}
