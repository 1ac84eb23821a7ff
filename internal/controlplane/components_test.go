package controlplane

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"minato/internal/controlplane/controllers"
)

// statuses are the component statuses by name: empty, or what is wrong.
func statuses(ctx context.Context, t *testing.T, c *kubernetes.Clientset) map[string]string {
	t.Helper()
	list, err := c.CoreV1().ComponentStatuses().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range list.Items {
		for _, condition := range s.Conditions {
			if condition.Type == corev1.ComponentHealthy {
				out[s.Name] = condition.Error
				if condition.Status == corev1.ConditionTrue && condition.Error != "" {
					t.Errorf("%s is healthy with the error %q", s.Name, condition.Error)
				}
			}
		}
	}
	return out
}

func testComponents(ctx context.Context, t *testing.T, r *running) {
	c := clientFor(t, r.adminConfig(t))
	eventually(t, "every component is healthy", func() bool {
		have := statuses(ctx, t, c)
		return len(have) == 3 && strings.Join([]string{have["scheduler"], have["controller-manager"], have["etcd-0"]}, "") == ""
	})
	for _, component := range []Component{KubeScheduler, KubeControllerManager} {
		t.Run(component.Name, func(t *testing.T) { testComponentHandler(t, r, component) })
	}
	// What does not run is not healthy.
	manager := r.components.manager.Swap(new(controllers.Manager))
	defer r.components.manager.Store(manager)
	if have := statuses(ctx, t, c); !strings.Contains(have["scheduler"], "not running") || !strings.Contains(have["controller-manager"], "not running") || have["etcd-0"] != "" {
		t.Errorf("without scheduler and controllers: %v", have)
	}
	w := httptest.NewRecorder()
	r.ComponentHandler(KubeScheduler).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("a scheduler that does not run answers %d to /healthz", w.Code)
	}
}

// testComponentHandler asks over TLS: nobody in particular, and the administrator by
// his certificate.
func testComponentHandler(t *testing.T, r *running, component Component) {
	server := httptest.NewUnstartedServer(r.ComponentHandler(component))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	admin := rest.CopyConfig(r.adminConfig(t))
	admin.Insecure, admin.CAData = true, nil
	asAdmin, err := rest.HTTPClientFor(admin)
	if err != nil {
		t.Fatal(err)
	}
	get := func(client *http.Client, path string) (int, string) {
		t.Helper()
		resp, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		if code, body := get(server.Client(), path); code != http.StatusOK || body != "ok" {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	if code, _ := get(server.Client(), "/metrics"); code != http.StatusForbidden {
		t.Errorf("anybody gets metrics: %d", code)
	}
	code, body := get(asAdmin, "/metrics")
	if code != http.StatusOK || !strings.Contains(body, "scheduler_") || !strings.Contains(body, "workqueue_depth") {
		t.Errorf("the administrator's metrics: %d, %d bytes", code, len(body))
	}
}
