package gone

import (
	"encoding/json"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1beta1 "k8s.io/api/batch/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// AutoscalerV2beta2 is a HorizontalPodAutoscaler of autoscaling/v2beta2, which is that
// of v2 by another name.
type AutoscalerV2beta2 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   autoscalingv2.HorizontalPodAutoscalerSpec   `json:"spec,omitempty"`
	Status autoscalingv2.HorizontalPodAutoscalerStatus `json:"status,omitempty"`
}

// AutoscalerV2beta2List is a list of them.
type AutoscalerV2beta2List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AutoscalerV2beta2 `json:"items"`
}

// AutoscalerV2beta1 is a HorizontalPodAutoscaler of autoscaling/v2beta1.
type AutoscalerV2beta1 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AutoscalerV2beta1Spec   `json:"spec,omitempty"`
	Status AutoscalerV2beta1Status `json:"status,omitempty"`
}

// AutoscalerV2beta1List is a list of them.
type AutoscalerV2beta1List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AutoscalerV2beta1 `json:"items"`
}

// AutoscalerV2beta1Spec says what is scaled, and by what.
type AutoscalerV2beta1Spec struct {
	ScaleTargetRef autoscalingv2.CrossVersionObjectReference `json:"scaleTargetRef"`
	MinReplicas    *int32                                    `json:"minReplicas,omitempty"`
	MaxReplicas    int32                                     `json:"maxReplicas"`
	Metrics        []Metric                                  `json:"metrics,omitempty"`
}

// AutoscalerV2beta1Status is what the autoscaler has seen and done.
type AutoscalerV2beta1Status struct {
	ObservedGeneration *int64                                           `json:"observedGeneration,omitempty"`
	LastScaleTime      *metav1.Time                                     `json:"lastScaleTime,omitempty"`
	CurrentReplicas    int32                                            `json:"currentReplicas"`
	DesiredReplicas    int32                                            `json:"desiredReplicas"`
	CurrentMetrics     []MetricNow                                      `json:"currentMetrics"`
	Conditions         []autoscalingv2.HorizontalPodAutoscalerCondition `json:"conditions"`
}

// Metric is a metric with its target; one of the pointers is set, as Type says.
type Metric struct {
	Type              autoscalingv2.MetricSourceType `json:"type"`
	Object            *ObjectMetric                  `json:"object,omitempty"`
	Pods              *PodsMetric                    `json:"pods,omitempty"`
	Resource          *ResourceMetric                `json:"resource,omitempty"`
	ContainerResource *ContainerMetric               `json:"containerResource,omitempty"`
	External          *ExternalMetric                `json:"external,omitempty"`
}

// ObjectMetric is about one object of the cluster.
type ObjectMetric struct {
	Target       autoscalingv2.CrossVersionObjectReference `json:"target"`
	MetricName   string                                    `json:"metricName"`
	TargetValue  resource.Quantity                         `json:"targetValue"`
	Selector     *metav1.LabelSelector                     `json:"selector,omitempty"`
	AverageValue *resource.Quantity                        `json:"averageValue,omitempty"`
}

// PodsMetric is about each of the Pods.
type PodsMetric struct {
	MetricName         string                `json:"metricName"`
	TargetAverageValue resource.Quantity     `json:"targetAverageValue"`
	Selector           *metav1.LabelSelector `json:"selector,omitempty"`
}

// ResourceMetric is about what the Pods use of a resource.
type ResourceMetric struct {
	Name                     corev1.ResourceName `json:"name"`
	TargetAverageUtilization *int32              `json:"targetAverageUtilization,omitempty"`
	TargetAverageValue       *resource.Quantity  `json:"targetAverageValue,omitempty"`
}

// ContainerMetric is about what one container of the Pods uses of a resource.
type ContainerMetric struct {
	Name                     corev1.ResourceName `json:"name"`
	TargetAverageUtilization *int32              `json:"targetAverageUtilization,omitempty"`
	TargetAverageValue       *resource.Quantity  `json:"targetAverageValue,omitempty"`
	Container                string              `json:"container"`
}

// ExternalMetric is about something outside the cluster.
type ExternalMetric struct {
	MetricName         string                `json:"metricName"`
	MetricSelector     *metav1.LabelSelector `json:"metricSelector,omitempty"`
	TargetValue        *resource.Quantity    `json:"targetValue,omitempty"`
	TargetAverageValue *resource.Quantity    `json:"targetAverageValue,omitempty"`
}

// MetricNow is the value of a metric.
type MetricNow struct {
	Type              autoscalingv2.MetricSourceType `json:"type"`
	Object            *ObjectMetricNow               `json:"object,omitempty"`
	Pods              *PodsMetricNow                 `json:"pods,omitempty"`
	Resource          *ResourceMetricNow             `json:"resource,omitempty"`
	ContainerResource *ContainerMetricNow            `json:"containerResource,omitempty"`
	External          *ExternalMetricNow             `json:"external,omitempty"`
}

// ObjectMetricNow is the value of an ObjectMetric.
type ObjectMetricNow struct {
	Target       autoscalingv2.CrossVersionObjectReference `json:"target"`
	MetricName   string                                    `json:"metricName"`
	CurrentValue resource.Quantity                         `json:"currentValue"`
	Selector     *metav1.LabelSelector                     `json:"selector,omitempty"`
	AverageValue *resource.Quantity                        `json:"averageValue,omitempty"`
}

// PodsMetricNow is the value of a PodsMetric.
type PodsMetricNow struct {
	MetricName          string                `json:"metricName"`
	CurrentAverageValue resource.Quantity     `json:"currentAverageValue"`
	Selector            *metav1.LabelSelector `json:"selector,omitempty"`
}

// ResourceMetricNow is the value of a ResourceMetric.
type ResourceMetricNow struct {
	Name                      corev1.ResourceName `json:"name"`
	CurrentAverageUtilization *int32              `json:"currentAverageUtilization,omitempty"`
	CurrentAverageValue       resource.Quantity   `json:"currentAverageValue"`
}

// ContainerMetricNow is the value of a ContainerMetric.
type ContainerMetricNow struct {
	Name                      corev1.ResourceName `json:"name"`
	CurrentAverageUtilization *int32              `json:"currentAverageUtilization,omitempty"`
	CurrentAverageValue       resource.Quantity   `json:"currentAverageValue"`
	Container                 string              `json:"container"`
}

// ExternalMetricNow is the value of an ExternalMetric.
type ExternalMetricNow struct {
	MetricName          string                `json:"metricName"`
	MetricSelector      *metav1.LabelSelector `json:"metricSelector,omitempty"`
	CurrentValue        resource.Quantity     `json:"currentValue"`
	CurrentAverageValue *resource.Quantity    `json:"currentAverageValue,omitempty"`
}

// CronJobV2alpha1 is a CronJob of batch/v2alpha1, which is that of v1beta1 by another
// name.
type CronJobV2alpha1 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   batchv1beta1.CronJobSpec   `json:"spec,omitempty"`
	Status batchv1beta1.CronJobStatus `json:"status,omitempty"`
}

// CronJobV2alpha1List is a list of them.
type CronJobV2alpha1List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []CronJobV2alpha1 `json:"items"`
}

// copyOf copies a value by way of JSON, which has all of it.
func copyOf[T any](in *T) *T {
	if in == nil {
		return nil
	}
	out := new(T)
	data, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		panic(fmt.Sprintf("copy a %T: %v", in, err)) // these types can be written and read
	}
	return out
}

// DeepCopyObject implements runtime.Object.
func (a *AutoscalerV2beta2) DeepCopyObject() runtime.Object { return copyOf(a) }

// DeepCopyObject implements runtime.Object.
func (a *AutoscalerV2beta2List) DeepCopyObject() runtime.Object { return copyOf(a) }

// DeepCopyObject implements runtime.Object.
func (a *AutoscalerV2beta1) DeepCopyObject() runtime.Object { return copyOf(a) }

// DeepCopyObject implements runtime.Object.
func (a *AutoscalerV2beta1List) DeepCopyObject() runtime.Object { return copyOf(a) }

// DeepCopyObject implements runtime.Object.
func (c *CronJobV2alpha1) DeepCopyObject() runtime.Object { return copyOf(c) }

// DeepCopyObject implements runtime.Object.
func (c *CronJobV2alpha1List) DeepCopyObject() runtime.Object { return copyOf(c) }

// The names that Kubernetes' OpenAPI documents had for the types.

// OpenAPIModelName names the type in OpenAPI documents.
func (AutoscalerV2beta2) OpenAPIModelName() string { return hpa("v2beta2", "") }

// OpenAPIModelName names the type in OpenAPI documents.
func (AutoscalerV2beta2List) OpenAPIModelName() string { return hpa("v2beta2", "List") }

// OpenAPIModelName names the type in OpenAPI documents.
func (AutoscalerV2beta1) OpenAPIModelName() string { return hpa("v2beta1", "") }

// OpenAPIModelName names the type in OpenAPI documents.
func (AutoscalerV2beta1List) OpenAPIModelName() string { return hpa("v2beta1", "List") }

// OpenAPIModelName names the type in OpenAPI documents.
func (CronJobV2alpha1) OpenAPIModelName() string { return "io.k8s.api.batch.v2alpha1.CronJob" }

// OpenAPIModelName names the type in OpenAPI documents.
func (CronJobV2alpha1List) OpenAPIModelName() string { return "io.k8s.api.batch.v2alpha1.CronJobList" }

func hpa(version, suffix string) string {
	return "io.k8s.api.autoscaling." + version + ".HorizontalPodAutoscaler" + suffix
}

// What upstream's API server warns with.

// APILifecycleDeprecated says since when the version is deprecated.
func (*AutoscalerV2beta2) APILifecycleDeprecated() (major, minor int) { return 1, 23 }

// APILifecycleRemoved says since when Kubernetes has it no more.
func (*AutoscalerV2beta2) APILifecycleRemoved() (major, minor int) { return 1, 26 }

// APILifecycleReplacement is today's version.
func (*AutoscalerV2beta2) APILifecycleReplacement() schema.GroupVersionKind {
	return autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler")
}

// APILifecycleDeprecated says since when the version is deprecated.
func (*AutoscalerV2beta1) APILifecycleDeprecated() (major, minor int) { return 1, 22 }

// APILifecycleRemoved says since when Kubernetes has it no more.
func (*AutoscalerV2beta1) APILifecycleRemoved() (major, minor int) { return 1, 25 }

// APILifecycleReplacement is today's version.
func (*AutoscalerV2beta1) APILifecycleReplacement() schema.GroupVersionKind {
	return autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler")
}

// APILifecycleDeprecated says since when the version is deprecated.
func (*CronJobV2alpha1) APILifecycleDeprecated() (major, minor int) { return 1, 8 }

// APILifecycleRemoved says since when Kubernetes has it no more.
func (*CronJobV2alpha1) APILifecycleRemoved() (major, minor int) { return 1, 21 }

// APILifecycleReplacement is today's version.
func (*CronJobV2alpha1) APILifecycleReplacement() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "CronJob"}
}
