package gone

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// PolicyVersions are the versions in which there was PodSecurityPolicy.
var PolicyVersions = []schema.GroupVersion{{Group: "policy", Version: "v1beta1"}, {Group: "extensions", Version: "v1beta1"}}

// PodSecurityPolicy is what Kubernetes had until 1.24. There is nothing to convert it
// to, so its fields don't matter.
type PodSecurityPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec runtime.RawExtension `json:"spec,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (p *PodSecurityPolicy) DeepCopyObject() runtime.Object { return copyOf(p) }

// OpenAPIModelName names the type in OpenAPI documents.
func (PodSecurityPolicy) OpenAPIModelName() string {
	return "io.k8s.api.policy.v1beta1.PodSecurityPolicy"
}

// APILifecycleDeprecated says since when the version is deprecated.
func (*PodSecurityPolicy) APILifecycleDeprecated() (major, minor int) { return 1, 21 }

// APILifecycleRemoved says since when Kubernetes has it no more.
func (*PodSecurityPolicy) APILifecycleRemoved() (major, minor int) { return 1, 25 }
