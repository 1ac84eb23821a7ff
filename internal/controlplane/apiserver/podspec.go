package apiserver

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/core"
)

// podSpecOf finds the description of Pods in an object as admission sees it,
// and the field where it is; nil for objects that have none.
func podSpecOf(obj runtime.Object) (*core.PodSpec, *field.Path) {
	template := field.NewPath("spec", "template", "spec")
	switch o := obj.(type) {
	case *core.Pod:
		return &o.Spec, field.NewPath("spec")
	case *core.PodTemplate:
		return &o.Template.Spec, field.NewPath("template", "spec")
	case *core.ReplicationController:
		if o.Spec.Template == nil {
			return nil, nil
		}
		return &o.Spec.Template.Spec, template
	case *apps.ReplicaSet:
		return &o.Spec.Template.Spec, template
	case *apps.Deployment:
		return &o.Spec.Template.Spec, template
	case *apps.StatefulSet:
		return &o.Spec.Template.Spec, template
	case *apps.DaemonSet:
		return &o.Spec.Template.Spec, template
	case *batch.Job:
		return &o.Spec.Template.Spec, template
	case *batch.CronJob:
		return &o.Spec.JobTemplate.Spec.Template.Spec, field.NewPath("spec", "jobTemplate").Child("spec", "template", "spec")
	}
	return nil, nil
}
