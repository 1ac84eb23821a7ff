package compat

import (
	"slices"
	"strings"
	"testing"
)

func TestMigrate(t *testing.T) {
	for name, test := range map[string]struct {
		in, want string
		changes  []string
	}{
		"Deployment with comments": {`# The shop's front.
apiVersion: extensions/v1beta1 # of its time
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3 # three are enough
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
        - name: web
          image: nginx:1.7.9 # old
          resources:
            requests:
              cpu: 0.5
`, `# The shop's front.
apiVersion: apps/v1 # of its time
kind: Deployment
metadata:
  name: web
  labels:
    app: web
spec:
  replicas: 3 # three are enough
  progressDeadlineSeconds: 2147483647
  revisionHistoryLimit: 2147483647
  selector:
    matchLabels:
      app: web
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 1
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
        - name: web
          image: nginx:1.7.9 # old
          resources:
            requests:
              cpu: 0.5
`, []string{
			"Deployment web: extensions/v1beta1 is now apps/v1",
			"Deployment web: metadata.labels: {app: web}",
			"Deployment web: spec.progressDeadlineSeconds: 2147483647",
			"Deployment web: spec.revisionHistoryLimit: 2147483647",
			"Deployment web: spec.selector: {matchLabels: {app: web}}",
			"Deployment web: spec.strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}",
		}},
		"Ingress with compact lists": {`apiVersion: networking.k8s.io/v1beta1
kind: Ingress
metadata:
  name: in
spec:
  rules:
  - host: a.example.com
    http:
      paths:
      - path: /a
        backend:
          serviceName: a
          servicePort: 80
`, `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: in
spec:
  rules:
  - host: a.example.com
    http:
      paths:
      - path: /a
        backend:
          service:
            name: a
            port:
              number: 80
        pathType: ImplementationSpecific
`, []string{
			"Ingress in: networking.k8s.io/v1beta1 is now networking.k8s.io/v1",
			"Ingress in: spec.rules[0].http.paths[0].backend.service: {name: a, port: {number: 80}}",
			"Ingress in: spec.rules[0].http.paths[0].pathType: ImplementationSpecific",
			"Ingress in: no spec.rules[0].http.paths[0].backend.serviceName",
			"Ingress in: no spec.rules[0].http.paths[0].backend.servicePort",
		}},
		"only the version": {"apiVersion: rbac.authorization.k8s.io/v1beta1\nkind: ClusterRole\nmetadata: {name: r}\nrules:\n- apiGroups: [\"\"]\n  resources: [\"pods\"]\n  verbs: [\"get\"]\n",
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\nrules:\n- apiGroups: [\"\"]\n  resources: [\"pods\"]\n  verbs: [\"get\"]\n",
			[]string{"ClusterRole r: rbac.authorization.k8s.io/v1beta1 is now rbac.authorization.k8s.io/v1"}},
		"list": {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c}\n- apiVersion: policy/v1beta1\n  kind: PodDisruptionBudget\n  metadata: {name: p}\n  spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}\n",
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c}\n- apiVersion: policy/v1\n  kind: PodDisruptionBudget\n  metadata: {name: p}\n  spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}\n",
			[]string{"PodDisruptionBudget p: policy/v1beta1 is now policy/v1"}},
		"topology keys": {"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  topologyKeys: [kubernetes.io/hostname, \"*\"] # near\n  ports: [{port: 80}]\n",
			"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: [{port: 80}]\n  trafficDistribution: PreferSameNode\n",
			[]string{"Service s: spec.trafficDistribution: PreferSameNode", "Service s: no spec.topologyKeys"}},
		"topology keys without an equal": {"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {topologyKeys: [rack, \"*\"]}\n",
			"apiVersion: v1\nkind: Service\nmetadata: {name: s, annotations: {minato.local/topology-keys: 'rack,*'}}\nspec: {}\n",
			[]string{`Service s: metadata.annotations: {minato.local/topology-keys: "rack,*"}`, "Service s: no spec.topologyKeys"}},
		"CustomResourceDefinition": {`apiVersion: apiextensions.k8s.io/v1beta1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  version: v1
  scope: Namespaced
  names:
    plural: crontabs
    kind: CronTab
  preserveUnknownFields: false
  validation:
    openAPIV3Schema:
      type: object
`, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names:
    plural: crontabs
    kind: CronTab
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
    served: true
    storage: true
`, nil},
		"autoscaler of an old Deployment": {"apiVersion: autoscaling/v2beta2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec: {maxReplicas: 2, scaleTargetRef: {apiVersion: extensions/v1beta1, kind: Deployment, name: web}}\n",
			"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec: {maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n",
			[]string{"HorizontalPodAutoscaler h: autoscaling/v2beta2 is now autoscaling/v2", "HorizontalPodAutoscaler h: spec.scaleTargetRef.apiVersion: apps/v1"}},
		"DaemonSet": {"apiVersion: extensions/v1beta1\nkind: DaemonSet\nmetadata: {name: d, labels: {a: b}}\nspec: {updateStrategy: {type: RollingUpdate}, template: {metadata: {labels: {a: b}}, spec: {containers: []}}}\n",
			"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d, labels: {a: b}}\nspec: {updateStrategy: {type: RollingUpdate}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: []}}}\n", nil},
		"unknown": {"# as it is\napiVersion: example.com/v1\nkind:   Thing\n", "# as it is\napiVersion: example.com/v1\nkind:   Thing\n", nil},
		"today's": {"apiVersion: apps/v1\nkind: Deployment\nspec: {paused:   true}\n", "apiVersion: apps/v1\nkind: Deployment\nspec: {paused:   true}\n", nil},
		"nothing": {"# only a comment\n", "# only a comment\n", nil},
	} {
		got, err := Migrate([]byte(test.in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(got.Document) != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got.Document, test.want)
		}
		if test.changes != nil && !slices.Equal(got.Changes, test.changes) {
			t.Errorf("%s: got changes\n%s\nwant\n%s", name, strings.Join(got.Changes, "\n"), strings.Join(test.changes, "\n"))
		}
		// What is in today's form stays as it is.
		again, err := Migrate(got.Document)
		if err != nil || len(again.Changes) > 0 || string(again.Document) != string(got.Document) {
			t.Errorf("%s: migrated again it has the changes %q: %v", name, again.Changes, err)
		}
	}
}

func TestMigrateRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: web}\nspec: {replica: 1}\n": `Deployment web of extensions/v1beta1: strict decoding error: unknown field "spec.replica"`,
		"apiVersion: [\n": "read YAML",
		"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {topologyKeys: a}\n": "Service s of v1: spec.topologyKeys must be a list of label keys",
	} {
		if _, err := Migrate([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", in, err, want)
		}
	}
}

func FuzzMigrate(f *testing.F) {
	f.Add([]byte("apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {metadata: {labels: {a: b}}}}\n"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [&a {apiVersion: policy/v1beta1, kind: PodDisruptionBudget}, *a]\n"))
	f.Add([]byte("apiVersion: v1\nkind: Service\nspec: {topologyKeys: [a, '*']}\n"))
	f.Add([]byte("{\"apiVersion\": \"apiextensions.k8s.io/v1beta1\", \"kind\": \"CustomResourceDefinition\", \"spec\": {\"version\": \"v1\"}}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Migrate(in)
		if err != nil {
			return
		}
		if len(got.Changes) == 0 && string(got.Document) != string(in) {
			t.Errorf("without a change %q became %q", in, got.Document)
		}
		if _, err := Migrate(got.Document); err != nil {
			t.Errorf("%q can't be read again: %v", got.Document, err)
		}
	})
}
