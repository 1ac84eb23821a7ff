package gone

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1beta1 "k8s.io/api/batch/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingdefaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchdefaults "k8s.io/kubernetes/pkg/apis/batch/v1beta1"
)

// The versions of this package.
var (
	V2beta1  = schema.GroupVersion{Group: autoscaling.GroupName, Version: "v2beta1"}
	V2beta2  = schema.GroupVersion{Group: autoscaling.GroupName, Version: "v2beta2"}
	V2alpha1 = schema.GroupVersion{Group: batch.GroupName, Version: "v2alpha1"}
)

// Register adds the kinds to a scheme that has today's.
func Register(scheme *runtime.Scheme) error {
	for gvk, obj := range map[schema.GroupVersionKind]runtime.Object{
		V2beta1.WithKind("HorizontalPodAutoscaler"):     &AutoscalerV2beta1{},
		V2beta1.WithKind("HorizontalPodAutoscalerList"): &AutoscalerV2beta1List{},
		V2beta2.WithKind("HorizontalPodAutoscaler"):     &AutoscalerV2beta2{},
		V2beta2.WithKind("HorizontalPodAutoscalerList"): &AutoscalerV2beta2List{},
		V2alpha1.WithKind("CronJob"):                    &CronJobV2alpha1{},
		V2alpha1.WithKind("CronJobList"):                &CronJobV2alpha1List{},
	} {
		scheme.AddKnownTypeWithName(gvk, obj)
	}
	for _, gv := range PolicyVersions {
		scheme.AddKnownTypeWithName(gv.WithKind("PodSecurityPolicy"), &PodSecurityPolicy{})
		scheme.AddKnownTypeWithName(schema.GroupVersionKind{Group: gv.Group, Version: runtime.APIVersionInternal, Kind: "PodSecurityPolicy"}, &PodSecurityPolicy{})
	}
	for _, gv := range []schema.GroupVersion{V2beta1, V2beta2, V2alpha1} {
		metav1.AddToGroupVersion(scheme, gv)
	}
	addDefaults(scheme)
	return addConversions(scheme)
}

// addDefaults adds the defaults, which are those of the versions that came after.
func addDefaults(scheme *runtime.Scheme) {
	scheme.AddTypeDefaultingFunc(&AutoscalerV2beta2{}, func(obj any) {
		if a, ok := obj.(*AutoscalerV2beta2); ok {
			today := &autoscalingv2.HorizontalPodAutoscaler{Spec: a.Spec}
			autoscalingdefaults.SetObjectDefaults_HorizontalPodAutoscaler(today)
			a.Spec = today.Spec
		}
	})
	scheme.AddTypeDefaultingFunc(&AutoscalerV2beta1{}, func(obj any) {
		a, ok := obj.(*AutoscalerV2beta1)
		if !ok {
			return
		}
		if a.Spec.MinReplicas == nil {
			one := int32(1)
			a.Spec.MinReplicas = &one
		}
		if len(a.Spec.Metrics) == 0 {
			percent := int32(autoscaling.DefaultCPUUtilization)
			a.Spec.Metrics = []Metric{{
				Type: autoscalingv2.ResourceMetricSourceType, Resource: &ResourceMetric{Name: corev1.ResourceCPU, TargetAverageUtilization: &percent},
			}}
		}
	})
	scheme.AddTypeDefaultingFunc(&CronJobV2alpha1{}, func(obj any) {
		if c, ok := obj.(*CronJobV2alpha1); ok {
			later := &batchv1beta1.CronJob{Spec: c.Spec}
			batchdefaults.SetObjectDefaults_CronJob(later)
			c.Spec = later.Spec
		}
	})
}

// pair adds the conversion of an old type to an internal one, and back.
func pair[Old, Internal any](scheme *runtime.Scheme, up func(*Old, *Internal, conversion.Scope) error, down func(*Internal, *Old, conversion.Scope) error) error {
	err := scheme.AddConversionFunc((*Old)(nil), (*Internal)(nil), func(a, b any, s conversion.Scope) error { return up(a.(*Old), b.(*Internal), s) })
	if err != nil {
		return err
	}
	return scheme.AddConversionFunc((*Internal)(nil), (*Old)(nil), func(a, b any, s conversion.Scope) error { return down(a.(*Internal), b.(*Old), s) })
}

func addConversions(scheme *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{addV2beta2, addV2beta1, addV2alpha1} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("add conversions of old versions: %w", err)
		}
	}
	return nil
}

// items converts the items of a list.
func items[In, Out any](in []In, s conversion.Scope) ([]Out, error) {
	out := make([]Out, len(in))
	for i := range in {
		if err := s.Convert(&in[i], &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func addV2beta2(scheme *runtime.Scheme) error {
	err := pair(scheme, func(in *AutoscalerV2beta2, out *autoscaling.HorizontalPodAutoscaler, s conversion.Scope) error {
		return s.Convert(&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: in.ObjectMeta, Spec: in.Spec, Status: in.Status}, out)
	}, func(in *autoscaling.HorizontalPodAutoscaler, out *AutoscalerV2beta2, s conversion.Scope) error {
		var today autoscalingv2.HorizontalPodAutoscaler
		err := s.Convert(in, &today)
		out.ObjectMeta, out.Spec, out.Status = today.ObjectMeta, today.Spec, today.Status
		return err
	})
	if err != nil {
		return err
	}
	return pair(scheme, func(in *AutoscalerV2beta2List, out *autoscaling.HorizontalPodAutoscalerList, s conversion.Scope) (err error) {
		out.ListMeta = in.ListMeta
		out.Items, err = items[AutoscalerV2beta2, autoscaling.HorizontalPodAutoscaler](in.Items, s)
		return err
	}, func(in *autoscaling.HorizontalPodAutoscalerList, out *AutoscalerV2beta2List, s conversion.Scope) (err error) {
		out.ListMeta = in.ListMeta
		out.Items, err = items[autoscaling.HorizontalPodAutoscaler, AutoscalerV2beta2](in.Items, s)
		return err
	})
}

func addV2beta1(scheme *runtime.Scheme) error {
	err := pair(scheme, func(in *AutoscalerV2beta1, out *autoscaling.HorizontalPodAutoscaler, s conversion.Scope) error {
		today, err := in.today()
		if err != nil {
			return err
		}
		return s.Convert(today, out)
	}, func(in *autoscaling.HorizontalPodAutoscaler, out *AutoscalerV2beta1, s conversion.Scope) error {
		var today autoscalingv2.HorizontalPodAutoscaler
		if err := s.Convert(in, &today); err != nil {
			return err
		}
		return out.become(&today)
	})
	if err != nil {
		return err
	}
	return pair(scheme, func(in *AutoscalerV2beta1List, out *autoscaling.HorizontalPodAutoscalerList, s conversion.Scope) (err error) {
		out.ListMeta = in.ListMeta
		out.Items, err = items[AutoscalerV2beta1, autoscaling.HorizontalPodAutoscaler](in.Items, s)
		return err
	}, func(in *autoscaling.HorizontalPodAutoscalerList, out *AutoscalerV2beta1List, s conversion.Scope) (err error) {
		out.ListMeta = in.ListMeta
		out.Items, err = items[autoscaling.HorizontalPodAutoscaler, AutoscalerV2beta1](in.Items, s)
		return err
	})
}

func addV2alpha1(scheme *runtime.Scheme) error {
	err := pair(scheme, func(in *CronJobV2alpha1, out *batch.CronJob, s conversion.Scope) error {
		return s.Convert(&batchv1beta1.CronJob{ObjectMeta: in.ObjectMeta, Spec: in.Spec, Status: in.Status}, out)
	}, func(in *batch.CronJob, out *CronJobV2alpha1, s conversion.Scope) error {
		var later batchv1beta1.CronJob
		err := s.Convert(in, &later)
		out.ObjectMeta, out.Spec, out.Status = later.ObjectMeta, later.Spec, later.Status
		return err
	})
	if err != nil {
		return err
	}
	return pair(scheme, func(in *CronJobV2alpha1List, out *batch.CronJobList, s conversion.Scope) (err error) {
		out.ListMeta = in.ListMeta
		out.Items, err = items[CronJobV2alpha1, batch.CronJob](in.Items, s)
		return err
	}, func(in *batch.CronJobList, out *CronJobV2alpha1List, s conversion.Scope) (err error) {
		out.ListMeta = in.ListMeta
		out.Items, err = items[batch.CronJob, CronJobV2alpha1](in.Items, s)
		return err
	})
}

// today returns the object as v2 has it. v2beta1 has no field for the behavior of v2,
// which an annotation keeps.
func (a *AutoscalerV2beta1) today() (*autoscalingv2.HorizontalPodAutoscaler, error) {
	out := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: a.ObjectMeta}
	out.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: a.Spec.ScaleTargetRef, MinReplicas: a.Spec.MinReplicas, MaxReplicas: a.Spec.MaxReplicas}
	for _, m := range a.Spec.Metrics {
		out.Spec.Metrics = append(out.Spec.Metrics, metricOf(m))
	}
	s := a.Status
	out.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: s.ObservedGeneration, LastScaleTime: s.LastScaleTime, CurrentReplicas: s.CurrentReplicas, DesiredReplicas: s.DesiredReplicas, Conditions: s.Conditions,
	}
	for _, m := range s.CurrentMetrics {
		out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, statusOf(m))
	}
	text, ok := a.Annotations[autoscaling.BehaviorSpecsAnnotation]
	if !ok {
		return out, nil
	}
	out.Annotations = maps.Clone(a.Annotations)
	delete(out.Annotations, autoscaling.BehaviorSpecsAnnotation)
	out.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
	if err := json.Unmarshal([]byte(text), out.Spec.Behavior); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", autoscaling.BehaviorSpecsAnnotation, err)
	}
	return out, nil
}

// become makes the object that of v2.
func (a *AutoscalerV2beta1) become(in *autoscalingv2.HorizontalPodAutoscaler) error {
	a.ObjectMeta = in.ObjectMeta
	a.Spec = AutoscalerV2beta1Spec{ScaleTargetRef: in.Spec.ScaleTargetRef, MinReplicas: in.Spec.MinReplicas, MaxReplicas: in.Spec.MaxReplicas}
	for _, m := range in.Spec.Metrics {
		a.Spec.Metrics = append(a.Spec.Metrics, metricBack(m))
	}
	s := in.Status
	a.Status = AutoscalerV2beta1Status{
		ObservedGeneration: s.ObservedGeneration, LastScaleTime: s.LastScaleTime, CurrentReplicas: s.CurrentReplicas, DesiredReplicas: s.DesiredReplicas, Conditions: s.Conditions,
	}
	for _, m := range s.CurrentMetrics {
		a.Status.CurrentMetrics = append(a.Status.CurrentMetrics, statusBack(m))
	}
	if in.Spec.Behavior == nil {
		return nil
	}
	text, err := json.Marshal(in.Spec.Behavior)
	if err != nil {
		return fmt.Errorf("write annotation %s: %w", autoscaling.BehaviorSpecsAnnotation, err)
	}
	a.Annotations = maps.Clone(in.Annotations)
	if a.Annotations == nil {
		a.Annotations = map[string]string{}
	}
	a.Annotations[autoscaling.BehaviorSpecsAnnotation] = string(text)
	return nil
}
