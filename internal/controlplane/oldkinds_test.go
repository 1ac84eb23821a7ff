package controlplane

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// oldClient writes manifests in any version, and hears the warnings.
type oldClient struct {
	t      *testing.T
	client dynamic.Interface
	heard  *warnings
}

func newOldClient(t *testing.T, r *running) *oldClient {
	t.Helper()
	heard := &warnings{}
	cfg := r.adminConfig(t)
	cfg.WarningHandler, cfg.QPS = heard, -1
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &oldClient{t, client, heard}
}

// at is a resource, as "apps/v1 deployments", in the namespace of the tests unless it
// begins with a slash.
func (c *oldClient) at(what string) dynamic.ResourceInterface {
	c.t.Helper()
	version, name, _ := strings.Cut(strings.TrimPrefix(what, "/"), " ")
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.HasPrefix(what, "/") {
		return c.client.Resource(gv.WithResource(name))
	}
	return c.client.Resource(gv.WithResource(name)).Namespace("old")
}

// create writes a manifest.
func (c *oldClient) create(ctx context.Context, what, manifest string) error {
	c.t.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), obj); err != nil {
		c.t.Fatal(err)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(what, "/"), " ")
	obj.SetAPIVersion(version)
	c.heard.said = nil
	_, err := c.at(what).Create(ctx, obj, metav1.CreateOptions{FieldValidation: "Strict"})
	return err
}

// value returns what is at a path such as "spec.replicas" of an object, as YAML.
func (c *oldClient) value(ctx context.Context, what, name, path string) string {
	c.t.Helper()
	obj, err := c.at(what).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		c.t.Errorf("%s %s: %v", what, name, err)
		return ""
	}
	var v any = obj.Object
	for part := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[part]
		case []any:
			v = nil
			if part == "0" && len(in) > 0 {
				v = in[0]
			}
		}
	}
	data, err := yaml.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

const oldTemplate = "template: {metadata: {labels: {app: web}}, spec: {schedulerName: nobody, containers: [{name: web, image: nginx}]}}"

// oldManifests are manifests of each kind, where they are written, and what today's
// version has of them.
var oldManifests = []struct{ old, manifest, today, path, want string }{
	{"extensions/v1beta1 deployments", "{kind: Deployment, metadata: {name: ext}, spec: {replicas: 0, " + oldTemplate + "}}", "apps/v1 deployments", "spec.selector.matchLabels.app", "web"},
	{"apps/v1beta1 deployments", "{kind: Deployment, metadata: {name: beta1}, spec: {replicas: 0, " + oldTemplate + "}}", "apps/v1 deployments", "spec.revisionHistoryLimit", "2"},
	{"apps/v1beta2 deployments", "{kind: Deployment, metadata: {name: beta2}, spec: {replicas: 0, selector: {matchLabels: {app: web}}, " + oldTemplate + "}}", "apps/v1 deployments", "spec.strategy.rollingUpdate.maxSurge", "25%"},
	{"extensions/v1beta1 daemonsets", "{kind: DaemonSet, metadata: {name: ext}, spec: {" + oldTemplate + "}}", "apps/v1 daemonsets", "spec.updateStrategy.type", "OnDelete"},
	{"apps/v1beta2 daemonsets", "{kind: DaemonSet, metadata: {name: beta2}, spec: {selector: {matchLabels: {app: web}}, " + oldTemplate + "}}", "apps/v1 daemonsets", "spec.updateStrategy.type", "RollingUpdate"},
	{"extensions/v1beta1 replicasets", "{kind: ReplicaSet, metadata: {name: ext}, spec: {replicas: 0, " + oldTemplate + "}}", "apps/v1 replicasets", "spec.selector.matchLabels.app", "web"},
	{"apps/v1beta2 replicasets", "{kind: ReplicaSet, metadata: {name: beta2}, spec: {replicas: 0, selector: {matchLabels: {app: web}}, " + oldTemplate + "}}", "apps/v1 replicasets", "metadata.name", "beta2"},
	{"apps/v1beta1 statefulsets", "{kind: StatefulSet, metadata: {name: beta1}, spec: {replicas: 0, serviceName: web, " + oldTemplate + "}}", "apps/v1 statefulsets", "spec.updateStrategy.type", "OnDelete"},
	{"apps/v1beta2 statefulsets", "{kind: StatefulSet, metadata: {name: beta2}, spec: {replicas: 0, serviceName: web, selector: {matchLabels: {app: web}}, " + oldTemplate + "}}", "apps/v1 statefulsets", "spec.updateStrategy.type", "RollingUpdate"},
	{"apps/v1beta1 controllerrevisions", "{kind: ControllerRevision, metadata: {name: r}, revision: 3, data: {a: b}}", "apps/v1 controllerrevisions", "revision", "3"},
	{"extensions/v1beta1 networkpolicies", "{kind: NetworkPolicy, metadata: {name: np}, spec: {podSelector: {}, egress: [{to: [{podSelector: {}}]}]}}", "networking.k8s.io/v1 networkpolicies", "spec.policyTypes", "- Ingress\n- Egress"},
	{"batch/v1beta1 cronjobs", "{kind: CronJob, metadata: {name: c}, spec: {schedule: '0 0 1 1 *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: c}]}}}}}}", "batch/v1 cronjobs", "spec.schedule", "0 0 1 1 *"},
	{"batch/v2alpha1 cronjobs", "{kind: CronJob, metadata: {name: alpha}, spec: {schedule: '0 0 1 1 *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: c}]}}}}}}", "batch/v1 cronjobs", "spec.concurrencyPolicy", "Allow"},
	{"policy/v1beta1 poddisruptionbudgets", "{kind: PodDisruptionBudget, metadata: {name: none}, spec: {minAvailable: 1, selector: {}}}", "policy/v1 poddisruptionbudgets", "spec.selector.matchExpressions.0.operator", "Exists"},
	{"autoscaling/v2beta1 horizontalpodautoscalers", "{kind: HorizontalPodAutoscaler, metadata: {name: beta1}, spec: {maxReplicas: 2, scaleTargetRef: {apiVersion: extensions/v1beta1, kind: Deployment, name: ext}, metrics: [{type: Resource, resource: {name: cpu, targetAverageUtilization: 50}}]}}", "autoscaling/v2 horizontalpodautoscalers", "spec.metrics.0.resource.target", "averageUtilization: 50\ntype: Utilization"},
	{"autoscaling/v2beta2 horizontalpodautoscalers", "{kind: HorizontalPodAutoscaler, metadata: {name: beta2}, spec: {maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: ext}}}", "autoscaling/v1 horizontalpodautoscalers", "spec.targetCPUUtilizationPercentage", "80"},
	{"rbac.authorization.k8s.io/v1beta1 roles", "{kind: Role, metadata: {name: r}, rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}", "rbac.authorization.k8s.io/v1 roles", "rules.0.verbs", "- get"},
	{"rbac.authorization.k8s.io/v1alpha1 rolebindings", "{kind: RoleBinding, metadata: {name: r}, roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: '*'}]}", "rbac.authorization.k8s.io/v1 rolebindings", "subjects.0.name", "system:authenticated"},
	{"/rbac.authorization.k8s.io/v1beta1 clusterroles", "{kind: ClusterRole, metadata: {name: old-r}, rules: []}", "/rbac.authorization.k8s.io/v1 clusterroles", "metadata.name", "old-r"},
	{"/rbac.authorization.k8s.io/v1beta1 clusterrolebindings", "{kind: ClusterRoleBinding, metadata: {name: old-r}, roleRef: {kind: ClusterRole, name: old-r}}", "/rbac.authorization.k8s.io/v1 clusterrolebindings", "roleRef.apiGroup", "rbac.authorization.k8s.io"},
	{"/storage.k8s.io/v1beta1 storageclasses", "{kind: StorageClass, metadata: {name: old-s}, provisioner: example.com/p}", "/storage.k8s.io/v1 storageclasses", "reclaimPolicy", "Delete"},
	{"/storage.k8s.io/v1beta1 csidrivers", "{kind: CSIDriver, metadata: {name: old.example.com}, spec: {attachRequired: false}}", "/storage.k8s.io/v1 csidrivers", "spec.attachRequired", "false"},
	{"/storage.k8s.io/v1beta1 volumeattachments", "{kind: VolumeAttachment, metadata: {name: old-v}, spec: {attacher: a.example.com, nodeName: node-1, source: {persistentVolumeName: p}}}", "/storage.k8s.io/v1 volumeattachments", "spec.attacher", "a.example.com"},
	{"storage.k8s.io/v1beta1 csistoragecapacities", "{kind: CSIStorageCapacity, metadata: {name: c}, storageClassName: s, capacity: 1Gi}", "storage.k8s.io/v1 csistoragecapacities", "capacity", "1Gi"},
	{"/scheduling.k8s.io/v1beta1 priorityclasses", "{kind: PriorityClass, metadata: {name: old-p}, value: 7}", "/scheduling.k8s.io/v1 priorityclasses", "value", "7"},
	{"coordination.k8s.io/v1beta1 leases", "{kind: Lease, metadata: {name: l}, spec: {holderIdentity: me}}", "coordination.k8s.io/v1 leases", "spec.holderIdentity", "me"},
	{"discovery.k8s.io/v1beta1 endpointslices", "{kind: EndpointSlice, metadata: {name: e}, addressType: IPv4, endpoints: [{addresses: [192.0.2.1], topology: {kubernetes.io/hostname: node-7}}]}", "discovery.k8s.io/v1 endpointslices", "endpoints.0.nodeName", "node-7"},
	{"events.k8s.io/v1beta1 events", "{kind: Event, metadata: {name: e}, eventTime: '2020-01-02T03:04:05.000000Z', reportingController: example.com/c, reportingInstance: i, action: Do, reason: R, type: Normal, note: hello, regarding: {kind: Pod, name: p, namespace: old}}", "v1 events", "message", "hello"},
	{"/node.k8s.io/v1beta1 runtimeclasses", "{kind: RuntimeClass, metadata: {name: old-b}, handler: runc}", "/node.k8s.io/v1 runtimeclasses", "handler", "runc"},
	{"/node.k8s.io/v1alpha1 runtimeclasses", "{kind: RuntimeClass, metadata: {name: old-a}, spec: {runtimeHandler: runc}}", "/node.k8s.io/v1 runtimeclasses", "handler", "runc"},
	{"/admissionregistration.k8s.io/v1beta1 validatingwebhookconfigurations", "{kind: ValidatingWebhookConfiguration, metadata: {name: old-w}, webhooks: [{name: w.example.com, sideEffects: None, clientConfig: {url: 'https://127.0.0.1:1'}}]}", "/admissionregistration.k8s.io/v1 validatingwebhookconfigurations", "webhooks.0.failurePolicy", "Ignore"},
	{"/admissionregistration.k8s.io/v1beta1 mutatingwebhookconfigurations", "{kind: MutatingWebhookConfiguration, metadata: {name: old-w}, webhooks: [{name: w.example.com, sideEffects: None, clientConfig: {url: 'https://127.0.0.1:1'}}]}", "/admissionregistration.k8s.io/v1 mutatingwebhookconfigurations", "webhooks.0.admissionReviewVersions", "- v1beta1"},
}

// testOldKinds writes a manifest of each kind in an old version, reads it in today's,
// changes it in the old one, and deletes it there.
func testOldKinds(ctx context.Context, t *testing.T, r *running) {
	c := newOldClient(t, r)
	for _, m := range oldManifests {
		c.t = t
		if err := c.create(ctx, m.old, m.manifest); err != nil {
			t.Errorf("%s: %v", m.old, err)
			continue
		}
		said := strings.Join(c.heard.said, "\n")
		if !strings.Contains(m.old, "v1alpha1") && !strings.Contains(said, " is deprecated in v1.") || !strings.Contains(said, "today's form: ") {
			t.Errorf("%s: the API server warned %q", m.old, said)
		}
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(m.manifest), obj); err != nil {
			t.Fatal(err)
		}
		name := obj.GetName()
		if got := c.value(ctx, m.today, name, m.path); got != m.want {
			t.Errorf("%s is %s in %s, want %s", m.path, got, m.today, m.want)
		}
		if _, err := c.at(m.old).Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":{"patched":"yes"}}}`), metav1.PatchOptions{}); err != nil {
			t.Errorf("patch %s: %v", m.old, err)
		}
		if got := c.value(ctx, m.today, name, "metadata.labels.patched"); got != "\"yes\"" {
			t.Errorf("patched in %s, the label is %q in %s", m.old, got, m.today)
		}
		list, err := c.at(m.old).List(ctx, metav1.ListOptions{LabelSelector: "patched=yes"})
		if err != nil || len(list.Items) != 1 {
			t.Errorf("list %s: %v, %v", m.old, list, err)
		}
		if err := c.at(m.old).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete %s: %v", m.old, err)
		}
	}
	for what, want := range map[string]string{"/policy/v1beta1 podsecuritypolicies": "use Pod Security admission", "/extensions/v1beta1 podsecuritypolicies": "use Pod Security admission"} {
		err := c.create(ctx, what, "{kind: PodSecurityPolicy, metadata: {name: restricted}, spec: {privileged: false, seLinux: {rule: RunAsAny}}}")
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to be forbidden with %q", what, err, want)
		}
	}
	testShortNames(t, r)
	// Kubernetes today takes no webhook that may have side effects.
	err := c.create(ctx, "/admissionregistration.k8s.io/v1beta1 validatingwebhookconfigurations", "{kind: ValidatingWebhookConfiguration, metadata: {name: old-u}, webhooks: [{name: w.example.com, clientConfig: {url: 'https://127.0.0.1:1'}}]}")
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "sideEffects") {
		t.Errorf("a webhook with unknown side effects: %v", err)
	}
}

// testShortNames looks for names that kubectl would have to choose a group for.
func testShortNames(t *testing.T, r *running) {
	client := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	lists, err := client.Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string]string{}
	for _, list := range lists {
		for _, a := range list.APIResources {
			names := a.ShortNames
			for _, category := range a.Categories {
				names = append(names, "category "+category+" with "+a.Name)
			}
			for _, name := range names {
				if other, ok := groups[name]; ok && name != "ev" { // which upstream has twice
					t.Errorf("%s is in %s and in %s", name, other, list.GroupVersion)
				}
				groups[name] = list.GroupVersion
			}
		}
	}
	if groups["deploy"] != "apps/v1" || groups["psp"] != "policy/v1beta1" || groups["category all with deployments"] != "apps/v1" {
		t.Errorf("short names and categories are %v", groups)
	}
}

// testOldWorkloads uses what is peculiar to the workloads of old versions.
func testOldWorkloads(ctx context.Context, t *testing.T, r *running) {
	c := newOldClient(t, r)
	if err := c.create(ctx, "apps/v1beta1 deployments", "{kind: Deployment, metadata: {name: rolled}, spec: {replicas: 0, rollbackTo: {revision: 3}, paused: true, "+oldTemplate+"}}"); err != nil {
		t.Fatal(err)
	}
	if got := c.value(ctx, "apps/v1 deployments", "rolled", "metadata.annotations"); !strings.Contains(got, `deprecated.deployment.rollback.to: "3"`) {
		// The controller removes it once it has rolled back, or has seen that it can't.
		if c.value(ctx, "extensions/v1beta1 deployments", "rolled", "spec.rollbackTo") != "null" {
			t.Errorf("spec.rollbackTo became %s", got)
		}
	}
	client := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	eventually(t, "another scale in extensions/v1beta1", func() bool {
		scale, err := client.ExtensionsV1beta1().Deployments("old").GetScale(ctx, "rolled", metav1.GetOptions{})
		if err != nil || scale.Spec.Replicas != 0 || scale.Status.Selector["app"] != "web" {
			t.Fatalf("the scale in extensions/v1beta1 is %+v, %v", scale, err)
		}
		scale.Spec.Replicas = 2
		_, err = client.ExtensionsV1beta1().Deployments("old").UpdateScale(ctx, "rolled", scale, metav1.UpdateOptions{})
		if err != nil && !apierrors.IsConflict(err) { // with the controller
			t.Fatalf("change the scale in extensions/v1beta1: %v", err)
		}
		return err == nil
	})
	if got := c.value(ctx, "apps/v1beta2 deployments", "rolled", "spec.replicas"); got != "2" {
		t.Errorf("after the scale was changed there are %s replicas", got)
	}
	if err := c.at("apps/v1beta1 deployments").Delete(ctx, "rolled", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	// kubectl drain of those days.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "evicted"}, Spec: corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "c", Image: "c"}}}}
	if _, err := client.CoreV1().Pods("old").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.PolicyV1beta1().Evictions("old").Evict(ctx, &policyv1beta1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "evicted", Namespace: "old"}}); err != nil {
		t.Errorf("evict in policy/v1beta1: %v", err)
	}
	eventually(t, "end of the Pod that was evicted", func() bool {
		p, err := client.CoreV1().Pods("old").Get(ctx, "evicted", metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && p.DeletionTimestamp != nil
	})
}

// testOldDefinitions defines kinds as apiextensions.k8s.io/v1beta1 did.
func testOldDefinitions(ctx context.Context, t *testing.T, r *running) {
	c := newOldClient(t, r)
	const old, today = "/apiextensions.k8s.io/v1beta1 customresourcedefinitions", "/apiextensions.k8s.io/v1 customresourcedefinitions"
	for _, manifest := range []string{
		"{kind: CustomResourceDefinition, metadata: {name: boats.example.net}, spec: {group: example.net, version: v1, names: {plural: boats, kind: Boat}, subresources: {status: {}}, additionalPrinterColumns: [{name: Sails, type: integer, JSONPath: .spec.sails}]}}",
		"{kind: CustomResourceDefinition, metadata: {name: rafts.example.net}, spec: {group: example.net, version: v1, names: {plural: rafts, kind: Raft}, validation: {openAPIV3Schema: {properties: {spec: {properties: {logs: {type: integer, maximum: 9}}}}}}}}",
		"{kind: CustomResourceDefinition, metadata: {name: ferries.example.net}, spec: {group: example.net, version: v1, names: {plural: ferries, kind: Ferry}, preserveUnknownFields: false, validation: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {cars: {type: integer}}}}}}}}",
	} {
		if err := c.create(ctx, old, manifest); err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(c.heard.said, "\n"); !strings.Contains(said, "apiextensions.k8s.io/v1beta1 CustomResourceDefinition is deprecated") || !strings.Contains(said, "today's form: spec.versions") {
			t.Errorf("the API server warned %q", said)
		}
	}
	for path, want := range map[string]string{
		"spec.versions.0.additionalPrinterColumns.0.jsonPath": ".spec.sails",
		"spec.versions.0.subresources":                        "status: {}",
		"spec.versions.0.schema.openAPIV3Schema":              "type: object\nx-kubernetes-preserve-unknown-fields: true",
		"spec.preserveUnknownFields":                          "null",
	} {
		if got := c.value(ctx, today, "boats.example.net", path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for what, test := range map[string]struct{ kind, spec, path, want string }{
		"boats":   {"Boat", "{sails: 3, crew: {captain: a}}", "spec.crew.captain", "a"},
		"rafts":   {"Raft", "{logs: 7, crew: {captain: a}}", "spec.crew.captain", "a"},
		"ferries": {"Ferry", "{cars: 7, crew: {captain: a}}", "spec.crew", "null"},
	} {
		manifest := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte("{apiVersion: example.net/v1, kind: "+test.kind+", metadata: {name: one}, spec: "+test.spec+"}"), manifest); err != nil {
			t.Fatal(err)
		}
		eventually(t, what+" served", func() bool {
			_, err := c.at("example.net/v1 "+what).Create(ctx, manifest, metav1.CreateOptions{})
			return err == nil
		})
		if got := c.value(ctx, "example.net/v1 "+what, "one", test.path); got != test.want {
			t.Errorf("%s of one of %s is %s, want %s", test.path, what, got, test.want)
		}
		if err := c.at("example.net/v1 "+what).Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	if err := c.create(ctx, "example.net/v1 rafts", "{kind: Raft, metadata: {name: big}, spec: {logs: 10}}"); !apierrors.IsInvalid(err) {
		t.Errorf("a raft of ten logs: %v, want it to be invalid", err)
	}
	for _, name := range []string{"boats", "rafts", "ferries"} {
		if _, err := c.at(old).Patch(ctx, name+".example.net", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
		if err := c.at(old).Delete(ctx, name+".example.net", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// testTopologyKeys writes the field of Kubernetes 1.17 to 1.21, and reads it.
func testTopologyKeys(ctx context.Context, t *testing.T, r *running) {
	c := newOldClient(t, r)
	const services = "v1 services"
	if err := c.create(ctx, services, `{kind: Service, metadata: {name: keyed}, spec: {ports: [{port: 80}], topologyKeys: [kubernetes.io/hostname, "*"]}}`); err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(c.heard.said, "\n"); !strings.Contains(said, "today's form: spec.trafficDistribution: PreferSameNode") {
		t.Errorf("the API server warned %q", said)
	}
	check := func(field, annotation string) {
		t.Helper()
		if got := c.value(ctx, services, "keyed", "spec.topologyKeys"); got != field {
			t.Errorf("spec.topologyKeys is %s, want %s", got, field)
		}
		s, err := clientFor(t, r.RESTConfig("test-root", "system:masters")).CoreV1().Services("old").Get(ctx, "keyed", metav1.GetOptions{})
		if err != nil || s.Annotations["minato.local/topology-keys"] != annotation {
			t.Errorf("the annotations are %v, %v; want %q", s.Annotations, err, annotation)
		}
	}
	check("- kubernetes.io/hostname\n- '*'", "kubernetes.io/hostname,*")
	watcher, err := c.at(services).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=keyed"})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	patch := func(kind types.PatchType, text string) error {
		_, err := c.at(services).Patch(ctx, "keyed", kind, []byte(text), metav1.PatchOptions{FieldManager: "test", FieldValidation: "Strict"})
		return err
	}
	if err := patch(types.StrategicMergePatchType, `{"spec":{"topologyKeys":["rack"]}}`); err != nil {
		t.Error(err)
	}
	check("- rack", "rack")
	for e := range watcher.ResultChan() {
		keys, _, _ := unstructured.NestedStringSlice(e.Object.(*unstructured.Unstructured).Object, "spec", "topologyKeys")
		if len(keys) == 1 {
			break
		}
	}
	if err := patch(types.MergePatchType, `{"spec":{"topologyKeys":null}}`); err != nil {
		t.Error(err)
	}
	check("null", "")
	if err := patch(types.ApplyPatchType, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"keyed"},"spec":{"topologyKeys":["a","b","*"]}}`); err != nil {
		t.Error(err)
	}
	check("- a\n- b\n- '*'", "a,b,*")
	for text, want := range map[string]string{`["*","a"]`: `"*" must be the last value`, `["a","a"]`: "Duplicate value", `["/"]`: "spec.topologyKeys[0]: Invalid value", `"a"`: "must be a list of label keys"} {
		if err := patch(types.MergePatchType, `{"spec":{"topologyKeys":`+text+`}}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("topologyKeys %s: %v, want %q", text, err, want)
		}
	}
	if err := c.at(services).Delete(ctx, "keyed", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
