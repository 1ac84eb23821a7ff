package compat

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

const podTemplate = `
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
`

// forms are the warnings for a manifest, as the API server gives them.
func formsFor(t *testing.T, manifest string) []string {
	t.Helper()
	obj, gvk, err := legacyscheme.Codecs.UniversalDecoder().Decode([]byte(manifest), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(resources, func(r resource) bool { return r.old.WithKind(r.kind) == *gvk })
	if i < 0 {
		t.Fatalf("%s is not served", gvk)
	}
	adapt(obj)
	return warningsOf(resources[i].old.WithResource(resources[i].name), obj)
}

func TestForms(t *testing.T) {
	const selector = "spec.selector: {matchLabels: {app: web}}"
	const another = " (the default is another today)"
	same := func(version string) []string {
		return []string{"today's form: apiVersion: " + version + ", and all else as it is"}
	}
	for name, test := range map[string]struct {
		manifest string
		want     []string
	}{
		"Deployment of extensions/v1beta1": {"apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: web}\nspec:" + podTemplate, []string{
			"today's form: spec.progressDeadlineSeconds: 2147483647; spec.revisionHistoryLimit: 2147483647; " + selector +
				"; spec.strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}, type: RollingUpdate}" + another,
		}},
		"Deployment of apps/v1beta1": {"apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: web}\nspec:" + podTemplate, []string{
			"today's form: spec.revisionHistoryLimit: 2; " + selector + another,
		}},
		"Deployment of apps/v1beta2": {"apiVersion: apps/v1beta2\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}" + podTemplate, same("apps/v1")},
		"Deployment that rolls back": {"apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  revisionHistoryLimit: 5\n  selector: {matchLabels: {app: web, tier: front}}\n  rollbackTo: {revision: 3}" + podTemplate, []string{
			`today's form: metadata.annotations: {deprecated.deployment.rollback.to: "3"}`,
			"today's form: no spec.rollbackTo",
		}},
		"DaemonSet of extensions/v1beta1": {"apiVersion: extensions/v1beta1\nkind: DaemonSet\nmetadata: {name: web}\nspec:\n  templateGeneration: 4" + podTemplate, []string{
			"today's form: " + selector + "; spec.updateStrategy: {type: OnDelete}" + another,
		}},
		"ReplicaSet of extensions/v1beta1": {"apiVersion: extensions/v1beta1\nkind: ReplicaSet\nmetadata: {name: web}\nspec:" + podTemplate, []string{"today's form: " + selector + another}},
		"StatefulSet of apps/v1beta1": {"apiVersion: apps/v1beta1\nkind: StatefulSet\nmetadata: {name: web}\nspec:\n  serviceName: web" + podTemplate, []string{
			"today's form: " + selector + "; spec.updateStrategy: {type: OnDelete}" + another,
		}},
		"CronJob":        {"apiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {name: c}\nspec: {schedule: '* * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: c}]}}}}}", same("batch/v1")},
		"PDB":            {"apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: p}\nspec: {minAvailable: 1, selector: {matchLabels: {app: web}}}", same("policy/v1")},
		"PDB for no Pod": {"apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: p}\nspec: {minAvailable: 1, selector: {}}", []string{"today's form: spec.selector.matchExpressions: [{key: pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match, operator: Exists}]"}},
		"Role":           {"apiVersion: rbac.authorization.k8s.io/v1beta1\nkind: Role\nmetadata: {name: r}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]", same("rbac.authorization.k8s.io/v1")},
		"RoleBinding of v1alpha1": {"apiVersion: rbac.authorization.k8s.io/v1alpha1\nkind: RoleBinding\nmetadata: {name: r}\nsubjects: [{kind: User, name: '*', apiVersion: rbac.authorization.k8s.io/v1alpha1}]\nroleRef: {kind: Role, name: r}", []string{
			"today's form: apiVersion: rbac.authorization.k8s.io/v1; subjects[0].apiGroup: rbac.authorization.k8s.io",
			"today's form: no subjects[0].apiVersion",
		}},
		"StorageClass":  {"apiVersion: storage.k8s.io/v1beta1\nkind: StorageClass\nmetadata: {name: s}\nprovisioner: example.com/p", same("storage.k8s.io/v1")},
		"PriorityClass": {"apiVersion: scheduling.k8s.io/v1beta1\nkind: PriorityClass\nmetadata: {name: p}\nvalue: 100", same("scheduling.k8s.io/v1")},
		"NetworkPolicy": {"apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: np}\nspec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", same("networking.k8s.io/v1")},
		"EndpointSlice": {"apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: e}\naddressType: IPv4\nendpoints: [{addresses: [192.0.2.1], topology: {kubernetes.io/hostname: node-1, topology.kubernetes.io/zone: zone-1, rack: rack-1}}]", []string{
			"today's form: endpoints[0].deprecatedTopology: {rack: rack-1}; endpoints[0].zone: zone-1",
			"today's form: no endpoints[0].topology",
		}},
		"RuntimeClass of v1alpha1": {"apiVersion: node.k8s.io/v1alpha1\nkind: RuntimeClass\nmetadata: {name: r}\nspec: {runtimeHandler: runc}", []string{"today's form: apiVersion: node.k8s.io/v1; handler: runc", "today's form: no spec"}},
		"webhook": {"apiVersion: admissionregistration.k8s.io/v1beta1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: w}\nwebhooks: [{name: w.example.com, sideEffects: None, clientConfig: {url: 'https://example.com'}}]", []string{
			"today's form: webhooks[0].admissionReviewVersions: [v1beta1]; webhooks[0].failurePolicy: Ignore; webhooks[0].matchPolicy: Exact; webhooks[0].timeoutSeconds: 30" + another,
		}},
	} {
		if got := formsFor(t, test.manifest); !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

// TestEveryKindIsKnown checks that Kubernetes' packages have every version of the
// table, its conversion, and a version that is named in the warning of upstream.
func TestEveryKindIsKnown(t *testing.T) {
	for _, r := range resources {
		for _, gv := range []schema.GroupVersion{r.old, r.today} {
			if !legacyscheme.Scheme.Recognizes(gv.WithKind(r.kind)) || !legacyscheme.Scheme.Recognizes(gv.WithKind(r.kind+"List")) {
				t.Errorf("Kubernetes' packages don't have %s of %s", r.kind, gv)
				continue
			}
		}
		obj, err := legacyscheme.Scheme.New(r.old.WithKind(r.kind))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := Today(obj); err != nil {
			t.Error(err)
		}
	}
}
