package compat

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"minato/internal/controlplane/compat/gone"
)

// kind is a kind of Kubernetes and what it was before.
type kind struct {
	name, kind string
	// today is its version.
	today string
	// old are the versions in which it was served, with their group where that was
	// another, in the order in which they are installed.
	old          []string
	subresources []string
	forms        func(runtime.Object) []string
}

var (
	withStatus = []string{"status"}
	withScale  = []string{"status", "scale"}
)

// kinds are all of which old versions are served.
var kinds = []kind{
	{"ingresses", "Ingress", "networking.k8s.io/v1", []string{"networking.k8s.io/v1beta1", "extensions/v1beta1"}, withStatus, ingressForms},
	{"ingressclasses", "IngressClass", "networking.k8s.io/v1", []string{"networking.k8s.io/v1beta1"}, nil, sameForm},
	{"networkpolicies", "NetworkPolicy", "networking.k8s.io/v1", []string{"extensions/v1beta1"}, nil, nil},

	{"deployments", "Deployment", "apps/v1", []string{"extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"}, withScale, nil},
	{"daemonsets", "DaemonSet", "apps/v1", []string{"extensions/v1beta1", "apps/v1beta2"}, withStatus, nil},
	{"replicasets", "ReplicaSet", "apps/v1", []string{"extensions/v1beta1", "apps/v1beta2"}, withScale, nil},
	{"statefulsets", "StatefulSet", "apps/v1", []string{"apps/v1beta1", "apps/v1beta2"}, withScale, nil},
	{"controllerrevisions", "ControllerRevision", "apps/v1", []string{"apps/v1beta1", "apps/v1beta2"}, nil, nil},
	{"cronjobs", "CronJob", "batch/v1", []string{"batch/v1beta1", "batch/v2alpha1"}, withStatus, nil},
	{"horizontalpodautoscalers", "HorizontalPodAutoscaler", "autoscaling/v2", []string{"autoscaling/v2beta1", "autoscaling/v2beta2"}, withStatus, nil},
	{"poddisruptionbudgets", "PodDisruptionBudget", "policy/v1", []string{"policy/v1beta1"}, withStatus, nil},

	{"roles", "Role", "rbac.authorization.k8s.io/v1", rbacVersions, nil, nil},
	{"rolebindings", "RoleBinding", "rbac.authorization.k8s.io/v1", rbacVersions, nil, nil},
	{"clusterroles", "ClusterRole", "rbac.authorization.k8s.io/v1", rbacVersions, nil, nil},
	{"clusterrolebindings", "ClusterRoleBinding", "rbac.authorization.k8s.io/v1", rbacVersions, nil, nil},

	{"storageclasses", "StorageClass", "storage.k8s.io/v1", []string{"storage.k8s.io/v1beta1"}, nil, nil},
	{"volumeattachments", "VolumeAttachment", "storage.k8s.io/v1", []string{"storage.k8s.io/v1beta1", "storage.k8s.io/v1alpha1"}, nil, nil},
	{"csidrivers", "CSIDriver", "storage.k8s.io/v1", []string{"storage.k8s.io/v1beta1"}, nil, nil},
	{"csinodes", "CSINode", "storage.k8s.io/v1", []string{"storage.k8s.io/v1beta1"}, nil, nil},
	{"csistoragecapacities", "CSIStorageCapacity", "storage.k8s.io/v1", []string{"storage.k8s.io/v1beta1", "storage.k8s.io/v1alpha1"}, nil, nil},

	{"priorityclasses", "PriorityClass", "scheduling.k8s.io/v1", []string{"scheduling.k8s.io/v1beta1"}, nil, nil},
	{"leases", "Lease", "coordination.k8s.io/v1", []string{"coordination.k8s.io/v1beta1"}, nil, nil},
	{"endpointslices", "EndpointSlice", "discovery.k8s.io/v1", []string{"discovery.k8s.io/v1beta1"}, nil, nil},
	{"events", "Event", "events.k8s.io/v1", []string{"events.k8s.io/v1beta1"}, nil, nil},
	{"runtimeclasses", "RuntimeClass", "node.k8s.io/v1", []string{"node.k8s.io/v1beta1", "node.k8s.io/v1alpha1"}, nil, nil},
	{"certificatesigningrequests", "CertificateSigningRequest", "certificates.k8s.io/v1", []string{"certificates.k8s.io/v1beta1"}, []string{"status", "approval"}, nil},
	{"mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1", []string{"admissionregistration.k8s.io/v1beta1"}, nil, nil},
	{"validatingwebhookconfigurations", "ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1", []string{"admissionregistration.k8s.io/v1beta1"}, nil, nil},
}

var rbacVersions = []string{"rbac.authorization.k8s.io/v1beta1", "rbac.authorization.k8s.io/v1alpha1"}

// resources are all that are served, in the order in which they are installed:
// the groups that today's Kubernetes has come before those that it has not.
var resources = func() []resource {
	if err := gone.Register(legacyscheme.Scheme); err != nil {
		panic(err) // the package is wrong
	}
	var out []resource
	for _, k := range kinds {
		for _, old := range k.old {
			out = append(out, resource{version(old), version(k.today), k.name, k.kind, k.subresources, k.forms})
		}
	}
	slices.SortStableFunc(out, func(a, b resource) int { return alone(a) - alone(b) })
	return out
}()

// alone is 1 for a resource of a group that there is for old versions alone.
func alone(r resource) int {
	if r.old.Group != r.today.Group {
		return 1
	}
	return 0
}

// version takes a version of the table apart.
func version(text string) schema.GroupVersion {
	gv, err := schema.ParseGroupVersion(text)
	if err != nil {
		panic(err) // the table is wrong
	}
	return gv
}

// sameForm is the form of kinds of which only the apiVersion differs.
func sameForm(runtime.Object) []string { return nil }
