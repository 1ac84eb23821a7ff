package controlplane

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
)

// oldIngress is an Ingress as it was written for Kubernetes 1.14 to 1.17.
func oldIngress(name string) *extensionsv1beta1.Ingress {
	return &extensionsv1beta1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: extensionsv1beta1.IngressSpec{
			Backend: &extensionsv1beta1.IngressBackend{ServiceName: "rest", ServicePort: intstr.FromString("http")},
			Rules: []extensionsv1beta1.IngressRule{{
				Host: "myapp.example.com",
				IngressRuleValue: extensionsv1beta1.IngressRuleValue{HTTP: &extensionsv1beta1.HTTPIngressRuleValue{
					Paths: []extensionsv1beta1.HTTPIngressPath{{
						Path: "/a", Backend: extensionsv1beta1.IngressBackend{ServiceName: "my-app-a", ServicePort: intstr.FromInt32(4200)},
					}},
				}},
			}},
		},
	}
}

// testOldAPIs uses Ingresses in the versions that Kubernetes 1.22 removed.
func testOldAPIs(ctx context.Context, t *testing.T, r *running) {
	client := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "old"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Run("discovery", func(t *testing.T) { testOldDiscovery(t, client) })
	t.Run("conversion", func(t *testing.T) { testOldConversion(ctx, t, r) })
	t.Run("patch", func(t *testing.T) { testOldPatch(ctx, t, client) })
	t.Run("watch", func(t *testing.T) { testOldWatch(ctx, t, client) })
	t.Run("classes", func(t *testing.T) { testOldClasses(ctx, t, client) })
	t.Run("quota", func(t *testing.T) { testOldQuota(ctx, t, client) })
	t.Run("policy", func(t *testing.T) { testOldPolicy(ctx, t, client) })
	t.Run("workloads", func(t *testing.T) { testOldWorkloads(ctx, t, r) })
	t.Run("kinds", func(t *testing.T) { testOldKinds(ctx, t, r) })
	t.Run("definitions", func(t *testing.T) { testOldDefinitions(ctx, t, r) })
	t.Run("topologyKeys", func(t *testing.T) { testTopologyKeys(ctx, t, r) })
	t.Run("rights", func(t *testing.T) { testOldRights(ctx, t, r) })
	t.Run("garbage", func(t *testing.T) { testOldGarbage(ctx, t, client) })
	t.Run("namespace", func(t *testing.T) { testOldNamespace(ctx, t, client) })
}

// testOldDiscovery checks that the old versions are there, that nobody gets them
// who does not ask for them, and that they are documented.
func testOldDiscovery(t *testing.T, client *kubernetes.Clientset) {
	groups, err := client.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, g := range groups.Groups {
		order = append(order, g.Name)
		if g.Name == networkingv1.GroupName && (g.PreferredVersion.Version != "v1" || len(g.Versions) != 2) {
			t.Errorf("group %s prefers %s of %v; want v1 of v1 and v1beta1", g.Name, g.PreferredVersion.Version, g.Versions)
		}
	}
	if today, old := slices.Index(order, "networking.k8s.io"), slices.Index(order, "extensions"); today < 0 || old < today {
		t.Errorf("groups are in the order %v; want networking.k8s.io before extensions", order)
	}
	resources, err := restmapper.GetAPIGroupResources(client.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	kind, err := restmapper.NewDiscoveryRESTMapper(resources).KindFor(schema.GroupVersionResource{Resource: "ingresses"})
	if want := networkingv1.SchemeGroupVersion.WithKind("Ingress"); err != nil || kind != want {
		t.Errorf("ingresses without a group are %v, %v; want %v", kind, err, want)
	}
	for gv, want := range map[string]struct{ names, today string }{
		"extensions/v1beta1": {"daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status " +
			"networkpolicies podsecuritypolicies replicasets replicasets/scale replicasets/status", "apps/v1 networking.k8s.io/v1"},
		"networking.k8s.io/v1beta1": {"ingressclasses ingresses ingresses/status", "networking.k8s.io/v1"},
		"apps/v1beta1":              {"controllerrevisions deployments deployments/scale deployments/status statefulsets statefulsets/scale statefulsets/status", "apps/v1"},
		"apps/v1beta2": {"controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status " +
			"replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status", "apps/v1"},
		"batch/v1beta1":                        {"cronjobs cronjobs/status", "batch/v1"},
		"batch/v2alpha1":                       {"cronjobs cronjobs/status", "batch/v1"},
		"policy/v1beta1":                       {"poddisruptionbudgets poddisruptionbudgets/status podsecuritypolicies", "policy/v1"},
		"rbac.authorization.k8s.io/v1beta1":    {"clusterrolebindings clusterroles rolebindings roles", "rbac.authorization.k8s.io/v1"},
		"rbac.authorization.k8s.io/v1alpha1":   {"clusterrolebindings clusterroles rolebindings roles", "rbac.authorization.k8s.io/v1"},
		"storage.k8s.io/v1beta1":               {"csidrivers csinodes csistoragecapacities storageclasses volumeattachments", "storage.k8s.io/v1"},
		"storage.k8s.io/v1alpha1":              {"csistoragecapacities volumeattachments", "storage.k8s.io/v1"},
		"scheduling.k8s.io/v1beta1":            {"priorityclasses", "scheduling.k8s.io/v1"},
		"coordination.k8s.io/v1beta1":          {"leases", "coordination.k8s.io/v1"},
		"discovery.k8s.io/v1beta1":             {"endpointslices", "discovery.k8s.io/v1"},
		"events.k8s.io/v1beta1":                {"events", "events.k8s.io/v1"},
		"node.k8s.io/v1beta1":                  {"runtimeclasses", "node.k8s.io/v1"},
		"node.k8s.io/v1alpha1":                 {"runtimeclasses", "node.k8s.io/v1"},
		"autoscaling/v2beta1":                  {"horizontalpodautoscalers horizontalpodautoscalers/status", "autoscaling/v2"},
		"autoscaling/v2beta2":                  {"horizontalpodautoscalers horizontalpodautoscalers/status", "autoscaling/v2"},
		"certificates.k8s.io/v1beta1":          {"certificatesigningrequests certificatesigningrequests/approval certificatesigningrequests/status", "certificates.k8s.io/v1"},
		"admissionregistration.k8s.io/v1beta1": {"mutatingwebhookconfigurations validatingwebhookconfigurations", "admissionregistration.k8s.io/v1"},
		"apiextensions.k8s.io/v1beta1":         {"customresourcedefinitions customresourcedefinitions/status", "apiextensions.k8s.io/v1"},
	} {
		list, err := client.Discovery().ServerResourcesForGroupVersion(gv)
		if err != nil {
			t.Errorf("%s: %v", gv, err)
			continue
		}
		stored := map[string]string{}
		for version := range strings.FieldsSeq(want.today) {
			today, err := client.Discovery().ServerResourcesForGroupVersion(version)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range today.APIResources {
				stored[a.Name] = a.StorageVersionHash
			}
		}
		var got []string
		for _, a := range list.APIResources {
			got = append(got, a.Name)
			// Clients tell by this hash in which version objects are stored.
			if hash, ok := stored[a.Name]; !strings.Contains(a.Name, "/") && a.Name != "podsecuritypolicies" && (!ok || a.StorageVersionHash != hash) {
				t.Errorf("%s of %s is not stored as in %s", a.Name, gv, want.today)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want.names {
			t.Errorf("%s has %v, want %v", gv, got, want.names)
		}
		group, version, _ := strings.Cut(gv, "/")
		for _, g := range groups.Groups {
			if g.Name == group && g.Name != "extensions" && g.PreferredVersion.Version == version {
				t.Errorf("group %s prefers %s", group, version)
			}
		}
	}
	paths, err := client.Discovery().OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	for path, model := range map[string]string{
		"apis/extensions/v1beta1":        `"io.k8s.api.extensions.v1beta1.IngressBackend"`,
		"apis/networking.k8s.io/v1beta1": `"io.k8s.api.networking.v1beta1.IngressBackend"`,
	} {
		doc, ok := paths[path]
		if !ok {
			t.Errorf("OpenAPI v3 has no document for %s", path)
			continue
		}
		if data, err := doc.Schema("application/json"); err != nil || !strings.Contains(string(data), model) {
			t.Errorf("the OpenAPI document of %s has no %s: %v", path, model, err)
		}
	}
	data, err := client.RESTClient().Get().AbsPath("/openapi/v2").SetHeader("Accept", "application/json").DoRaw(context.Background())
	if err != nil || !strings.Contains(string(data), `"/apis/extensions/v1beta1/namespaces/{namespace}/ingresses"`) {
		t.Errorf("OpenAPI v2 has no path for Ingress in extensions/v1beta1: %v", err)
	}
}

// testOldConversion writes in one version and reads in the others.
func testOldConversion(ctx context.Context, t *testing.T, r *running) {
	cfg, w := r.adminConfig(t), &warnings{}
	cfg.WarningHandler = w
	client := clientFor(t, cfg)
	if _, err := client.ExtensionsV1beta1().Ingresses("old").Create(ctx, oldIngress("written"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"extensions/v1beta1 Ingress is deprecated in v1.14+, unavailable in v1.22+; use networking.k8s.io/v1 Ingress",
		"today's form: spec.defaultBackend: {service: {name: rest, port: {name: http}}} (was spec.backend)",
		"today's form: spec.rules[0].http.paths[0]: {path: /a, pathType: ImplementationSpecific, backend: {service: {name: my-app-a, port: {number: 4200}}}}",
	} {
		if !slices.Contains(w.said, want) {
			t.Errorf("the API server warned %q, not %q", w.said, want)
		}
	}
	today, err := client.NetworkingV1().Ingresses("old").Get(ctx, "written", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := today.Spec.Rules[0].HTTP.Paths[0]
	switch b := today.Spec.DefaultBackend; {
	case b == nil || b.Service == nil || b.Service.Name != "rest" || b.Service.Port.Name != "http" || b.Service.Port.Number != 0:
		t.Errorf("spec.backend became %+v", b)
	case *path.PathType != networkingv1.PathTypeImplementationSpecific || path.Backend.Service.Name != "my-app-a" || path.Backend.Service.Port.Number != 4200:
		t.Errorf("the path became %+v", path)
	}
	today.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
	if _, err := client.NetworkingV1().Ingresses("old").UpdateStatus(ctx, today, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	// What today's version alone has, the old ones keep.
	exact := networkingv1.PathTypeExact
	today, err = client.NetworkingV1().Ingresses("old").Get(ctx, "written", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	today.Spec.Rules[0].HTTP.Paths[0].PathType = &exact
	if _, err := client.NetworkingV1().Ingresses("old").Update(ctx, today, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	beta, err := client.NetworkingV1beta1().Ingresses("old").Get(ctx, "written", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	betaPath := beta.Spec.Rules[0].HTTP.Paths[0]
	switch b := beta.Spec.Backend; {
	case b == nil || b.ServiceName != "rest" || b.ServicePort != intstr.FromString("http"):
		t.Errorf("spec.defaultBackend is %+v in networking.k8s.io/v1beta1", b)
	case *betaPath.PathType != networkingv1beta1.PathTypeExact || betaPath.Backend.ServicePort != intstr.FromInt32(4200):
		t.Errorf("the path is %+v in networking.k8s.io/v1beta1", betaPath)
	case len(beta.Status.LoadBalancer.Ingress) != 1 || beta.Status.LoadBalancer.Ingress[0].IP != "192.0.2.1":
		t.Errorf("the status is %+v in networking.k8s.io/v1beta1", beta.Status)
	}
	beta.Status.LoadBalancer.Ingress[0].IP = "192.0.2.2"
	if _, err := client.NetworkingV1beta1().Ingresses("old").UpdateStatus(ctx, beta, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	again, err := client.ExtensionsV1beta1().Ingresses("old").Get(ctx, "written", metav1.GetOptions{})
	if err != nil || again.UID != today.UID || again.Generation != 2 || again.Status.LoadBalancer.Ingress[0].IP != "192.0.2.2" {
		t.Errorf("in extensions/v1beta1 the object is %+v, %v", again, err)
	}
	table, err := client.RESTClient().Get().AbsPath("/apis/extensions/v1beta1/namespaces/old/ingresses").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(ctx)
	if err != nil || !strings.Contains(string(table), `"myapp.example.com"`) || !strings.Contains(string(table), `"Hosts"`) {
		t.Errorf("the table of Ingresses in extensions/v1beta1 is %s, %v", table, err)
	}
	// A bad object is refused in the words of today's version.
	bad := oldIngress("bad")
	bad.Spec.Backend.ServicePort = intstr.FromInt32(70000)
	if _, err := client.ExtensionsV1beta1().Ingresses("old").Create(ctx, bad, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an Ingress with servicePort 70000: %v; want it to be invalid", err)
	}
	if err := client.ExtensionsV1beta1().Ingresses("old").Delete(ctx, "written", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// testOldPatch patches in every way, with field managers that use different
// versions.
func testOldPatch(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	const oldForm = `{"apiVersion":"extensions/v1beta1","kind":"Ingress","metadata":{"name":"patched"},"spec":{"backend":{"serviceName":"one","servicePort":80}}}`
	old, today := client.ExtensionsV1beta1().Ingresses("old"), client.NetworkingV1().Ingresses("old")
	if _, err := old.Patch(ctx, "patched", types.ApplyPatchType, []byte(oldForm), metav1.PatchOptions{FieldManager: "old-manager"}); err != nil {
		t.Fatal(err)
	}
	// The same in today's form is no conflict, something else is one.
	const same = `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"patched"},"spec":{"defaultBackend":{"service":{"name":"one","port":{"number":80}}}}}`
	if _, err := today.Patch(ctx, "patched", types.ApplyPatchType, []byte(same), metav1.PatchOptions{FieldManager: "new-manager"}); err != nil {
		t.Errorf("today's form of the same: %v", err)
	}
	other := strings.Replace(same, `"one"`, `"two"`, 1)
	if _, err := today.Patch(ctx, "patched", types.ApplyPatchType, []byte(other), metav1.PatchOptions{FieldManager: "new-manager"}); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "old-manager") {
		t.Errorf("another backend in today's form: %v; want a conflict with old-manager", err)
	}
	for kind, patch := range map[types.PatchType]string{
		types.StrategicMergePatchType: `{"spec":{"backend":{"serviceName":"three"}}}`,
		types.MergePatchType:          `{"spec":{"backend":{"serviceName":"three"}}}`,
		types.JSONPatchType:           `[{"op":"replace","path":"/spec/backend/serviceName","value":"three"}]`,
	} {
		if _, err := client.NetworkingV1beta1().Ingresses("old").Patch(ctx, "patched", kind, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		got, err := today.Get(ctx, "patched", metav1.GetOptions{})
		if err != nil || got.Spec.DefaultBackend.Service.Name != "three" || got.Spec.DefaultBackend.Service.Port.Number != 80 {
			t.Errorf("after %s spec.defaultBackend is %+v, %v", kind, got.Spec.DefaultBackend, err)
		}
		if _, err := today.Patch(ctx, "patched", types.MergePatchType, []byte(`{"spec":{"defaultBackend":{"service":{"name":"one"}}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := old.Patch(ctx, "patched", types.MergePatchType, []byte(`{"spec":{"defaultBackend":{}}}`), metav1.PatchOptions{FieldValidation: "Strict"}); err == nil || !strings.Contains(err.Error(), `unknown field "spec.defaultBackend"`) {
		t.Errorf("a field of today's in extensions/v1beta1: %v; want it to be unknown", err)
	}
	if err := today.Delete(ctx, "patched", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// testOldWatch watches in an old version what is written in today's.
func testOldWatch(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	watcher, err := client.ExtensionsV1beta1().Ingresses("old").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=seen"})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	today := client.NetworkingV1().Ingresses("old")
	_, err = today.Create(ctx, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "seen"}, Spec: networkingv1.IngressSpec{
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "a", Port: networkingv1.ServiceBackendPort{Number: 1}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := today.Delete(ctx, "seen", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		e := <-watcher.ResultChan()
		in, ok := e.Object.(*extensionsv1beta1.Ingress)
		if !ok || e.Type != want || in.Spec.Backend == nil || in.Spec.Backend.ServiceName != "a" {
			t.Errorf("the watch has %s of %+v, want %s", e.Type, e.Object, want)
		}
	}
}

// oldRequests matches the API server's counts of requests for the group that has
// old versions alone, by those who would do everything twice.
var oldRequests = regexp.MustCompile(`(?m)^apiserver_request_total\{.*group="extensions".*verb="(DELETECOLLECTION)".*$|^apiserver_longrunning_requests\{.*group="extensions".*\} [1-9].*$`)

// testOldNamespace checks that a namespace is emptied as fast as without old
// versions, and that no controller looks at objects twice.
func testOldNamespace(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	if _, err := client.ExtensionsV1beta1().Ingresses("old").Create(ctx, oldIngress("last"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := client.CoreV1().Namespaces().Delete(ctx, "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the namespace", func() bool {
		_, err := client.CoreV1().Namespaces().Get(ctx, "old", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	t.Logf("the namespace was deleted after %v", time.Since(begin))
	eventually(t, "end of the test's own watch", func() bool {
		data, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
		if err != nil {
			return false
		}
		found := oldRequests.FindAll(data, -1)
		return len(found) == 0
	})
}

// leaveOld writes an Ingress in an old version and returns its UID.
func leaveOld(ctx context.Context, t *testing.T, client *kubernetes.Clientset) types.UID {
	t.Helper()
	in, err := client.ExtensionsV1beta1().Ingresses("default").Create(ctx, oldIngress("left"), metav1.CreateOptions{FieldManager: "old-manager"})
	if err != nil {
		t.Fatal(err)
	}
	return in.UID
}

// checkWithoutOld checks a cluster in which the old versions are turned off after
// they were used.
func checkWithoutOld(ctx context.Context, t *testing.T, r *running, uid types.UID) {
	t.Helper()
	cfg := r.adminConfig(t)
	client := clientFor(t, cfg)
	for _, path := range []string{"/apis/extensions/v1beta1", "/apis/networking.k8s.io/v1beta1"} {
		status := 0
		client.RESTClient().Get().AbsPath(path).Do(ctx).StatusCode(&status)
		if status != http.StatusNotFound {
			t.Errorf("with old versions turned off GET %s has status %d", path, status)
		}
	}
	eventually(t, "old versions gone from discovery", func() bool {
		groups, err := client.Discovery().ServerGroups()
		if err != nil {
			return false
		}
		versions := map[string]bool{}
		for _, g := range groups.Groups {
			for _, v := range g.Versions {
				versions[v.GroupVersion] = true
			}
		}
		return versions["networking.k8s.io/v1"] && !versions["networking.k8s.io/v1beta1"] && !versions["extensions/v1beta1"]
	})
	in, err := client.NetworkingV1().Ingresses("default").Get(ctx, "left", metav1.GetOptions{})
	if err != nil || in.UID != uid || in.Spec.DefaultBackend == nil || in.Spec.DefaultBackend.Service.Port.Name != "http" {
		t.Fatalf("the Ingress that was written in extensions/v1beta1 is %+v, %v", in, err)
	}
	// Its field manager used a version that is no longer there.
	patch, err := json.Marshal(map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": map[string]any{"name": "left", "labels": map[string]any{"a": "b"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.NetworkingV1().Ingresses("default").Patch(ctx, "left", types.ApplyPatchType, patch, metav1.PatchOptions{FieldManager: "new-manager"}); err != nil {
		t.Errorf("apply to an Ingress whose other field manager used extensions/v1beta1: %v", err)
	}
}
