package pod

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/reference"

	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"minato/internal/node/object"
)

// event records something about a Pod.
func (w *worker) event(pod *v1.Pod, kind, reason, message string) {
	w.m.cfg.Events.Event(pod, kind, reason, message)
}

// containerEvent records something about one of its containers.
func (w *worker) containerEvent(pod *v1.Pod, c *v1.Container, kind, reason, message string) {
	ref, err := reference.GetReference(scheme.Scheme, pod)
	if err != nil {
		w.m.cfg.Logger.Warn("an event about a container was dropped, because its pod cannot be referred to", "pod", pod.Name, "container", c.Name, "reason", reason, "error", err)
		return
	}
	field := "containers"
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == c.Name {
			field = "initContainers"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == c.Name {
			field = "ephemeralContainers"
		}
	}
	ref.FieldPath = "spec." + field + "{" + c.Name + "}"
	w.m.cfg.Events.Event(ref, kind, reason, message)
}

// volumeRefs lists the objects behind a Pod's volumes.
func volumeRefs(pod *v1.Pod) []object.Ref {
	var refs []object.Ref
	add := func(kind object.Kind, name string) {
		refs = append(refs, object.Ref{Kind: kind, Namespace: pod.Namespace, Name: name})
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			add(object.ConfigMap, v.ConfigMap.Name)
		case v.Secret != nil:
			add(object.Secret, v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					add(object.ConfigMap, s.ConfigMap.Name)
				}
				if s.Secret != nil {
					add(object.Secret, s.Secret.Name)
				}
			}
		}
	}
	return refs
}

// envRefs lists the objects that a container's environment refers to.
func envRefs(pod *v1.Pod, c *v1.Container) []object.Ref {
	only := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{*c}}}
	var refs []object.Ref
	podutil.VisitPodConfigmapNames(only, func(name string) bool {
		refs = append(refs, object.Ref{Kind: object.ConfigMap, Namespace: pod.Namespace, Name: name})
		return true
	})
	podutil.VisitPodSecretNames(only, func(name string) bool {
		refs = append(refs, object.Ref{Kind: object.Secret, Namespace: pod.Namespace, Name: name})
		return true
	})
	return refs
}
