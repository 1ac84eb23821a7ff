// Package manifest reads manifests of static Pods as a kubelet does: with the defaults
// and the validation of Kubernetes' own packages.
//
// It does no I/O. It is here because only the control plane knows those packages.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // the kinds that are read
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// Annotations that say where a Pod is from (pkg/kubelet/types).
const (
	annotationHash   = "kubernetes.io/config.hash"
	annotationSource = "kubernetes.io/config.source"
	sourceFile       = "file"
)

// Pod reads the manifest of a static Pod of a cluster's node, in YAML or JSON. source is
// the path of its file. The name gets the node's name added, and the UID follows from
// the manifest, its place, the cluster and the node (pkg/kubelet/config/common.go): a
// container runtime of the machine may run Pods of nodes that have one name.
func Pod(data []byte, source, cluster, node string) (*v1.Pod, error) {
	text, err := yaml.ToJSON(data)
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	object, err := runtime.Decode(legacyscheme.Codecs.UniversalDecoder(), text)
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	pod, ok := object.(*core.Pod)
	if !ok {
		return nil, fmt.Errorf("it has a %T and no Pod; a file holds one Pod", object)
	}
	complete(pod, text, source, cluster, node)
	if errs := validation.ValidatePodCreate(pod, podutil.GetValidationOptionsFromPodSpecAndMeta(&pod.Spec, nil, &pod.ObjectMeta, nil)); len(errs) > 0 {
		return nil, fmt.Errorf("the Pod is not valid: %w", errs.ToAggregate())
	}
	refers, kind, err := podutil.HasAPIObjectReference(pod)
	if err != nil {
		return nil, err
	}
	if refers {
		return nil, fmt.Errorf("a static Pod can't refer to %s: it runs without the API server", kind)
	}
	out := &v1.Pod{}
	if err := corev1.Convert_core_Pod_To_v1_Pod(pod, out, nil); err != nil {
		return nil, fmt.Errorf("convert the Pod: %w", err)
	}
	return out, nil
}

// complete sets what the kubelet sets.
func complete(pod *core.Pod, text []byte, source, cluster, node string) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", cluster, node, source, text))
	hash := hex.EncodeToString(sum[:16])
	if len(pod.UID) == 0 {
		pod.UID = types.UID(hash)
	}
	pod.Name += "-" + node
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	pod.Spec.NodeName = node
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[annotationHash], pod.Annotations[annotationSource] = hash, sourceFile
	pod.ResourceVersion, pod.Generation = "", 0
	pod.Status = core.PodStatus{Phase: core.PodPending}
	// It stays while the node is said to be unreachable: nobody else would run it.
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, core.Toleration{Operator: core.TolerationOpExists, Effect: core.TaintEffectNoExecute})
}
