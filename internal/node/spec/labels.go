package spec

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"

	v1 "k8s.io/api/core/v1"
)

// Labels of sandboxes and containers, the same as every kubelet's, so that
// tools that look at a runtime find their Pods.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"
)

// Annotations of sandboxes and containers.
const (
	AnnotationHash         = "io.kubernetes.container.hash"
	AnnotationRestartCount = "io.kubernetes.container.restartCount"
	AnnotationRound        = "minato.container.round"
	AnnotationGracePeriod  = "io.kubernetes.pod.terminationGracePeriod"
	annotationResources    = "minato.container.resources"
	annotationLimits       = "minato.container.limits"
	annotationPodLimits    = "minato.pod.limits"
	annotationMessagePath  = "io.kubernetes.container.terminationMessagePath"
	annotationMessageRule  = "io.kubernetes.container.terminationMessagePolicy"
)

func podLabels(pod *v1.Pod) map[string]string {
	labels := make(map[string]string, len(pod.Labels)+3)
	for k, v := range pod.Labels {
		labels[k] = v
	}
	labels[LabelPodName] = pod.Name
	labels[LabelPodNamespace] = pod.Namespace
	labels[LabelPodUID] = string(pod.UID)
	return labels
}

func containerLabels(pod *v1.Pod, c *v1.Container) map[string]string {
	return map[string]string{
		LabelPodName:       pod.Name,
		LabelPodNamespace:  pod.Namespace,
		LabelPodUID:        string(pod.UID),
		LabelContainerName: c.Name,
	}
}

func containerAnnotations(pod *v1.Pod, c *v1.Container, restarts uint32, round int) map[string]string {
	a := map[string]string{
		AnnotationHash:         Hash(c),
		AnnotationRestartCount: strconv.FormatUint(uint64(restarts), 10),
		annotationMessagePath:  c.TerminationMessagePath,
		annotationMessageRule:  string(c.TerminationMessagePolicy),
	}
	if round > 0 {
		a[AnnotationRound] = strconv.Itoa(round)
	}
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		a[AnnotationGracePeriod] = strconv.FormatInt(*g, 10)
	}
	if text, err := json.Marshal(c.Resources); err == nil { // quantities always encode
		a[annotationResources] = string(text)
	}
	// Also where the Pod as a whole has none: a resize may give it some.
	if text, err := json.Marshal(EffectiveLimits(pod, c)); err == nil {
		a[annotationLimits] = string(text)
	}
	return a
}

// Hash changes when a change of the API's Pod asks for a new container. Name
// and image are the only such fields that may change in place.
func Hash(c *v1.Container) string {
	h := fnv.New32a()
	json.NewEncoder(h).Encode([]string{c.Name, c.Image}) // a hash never fails to write
	return fmt.Sprintf("%x", h.Sum32())
}
