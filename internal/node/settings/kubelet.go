package settings

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kubelet has the fields by the names and in the form that they have in a
// KubeletConfiguration (kubelet.config.k8s.io/v1beta1).
type Kubelet struct {
	EvictionHard                     map[string]string `json:"evictionHard,omitempty"`
	EvictionSoft                     map[string]string `json:"evictionSoft,omitempty"`
	EvictionSoftGracePeriod          map[string]string `json:"evictionSoftGracePeriod,omitempty"`
	EvictionMinimumReclaim           map[string]string `json:"evictionMinimumReclaim,omitempty"`
	EvictionPressureTransitionPeriod *metav1.Duration  `json:"evictionPressureTransitionPeriod,omitempty"`
	EvictionMaxPodGracePeriod        *int32            `json:"evictionMaxPodGracePeriod,omitempty"`
	MergeDefaultEvictionSettings     *bool             `json:"mergeDefaultEvictionSettings,omitempty"`

	// The images are those of all nodes, so these can't be one node's.
	ImageGCHighThresholdPercent *int32           `json:"imageGCHighThresholdPercent,omitempty"`
	ImageGCLowThresholdPercent  *int32           `json:"imageGCLowThresholdPercent,omitempty"`
	ImageMinimumGCAge           *metav1.Duration `json:"imageMinimumGCAge,omitempty"`
	ImageMaximumGCAge           *metav1.Duration `json:"imageMaximumGCAge,omitempty"`

	SerializeImagePulls   *bool  `json:"serializeImagePulls,omitempty"`
	MaxParallelImagePulls *int32 `json:"maxParallelImagePulls,omitempty"`
	RegistryPullQPS       *int32 `json:"registryPullQPS,omitempty"`
	RegistryBurst         *int32 `json:"registryBurst,omitempty"`

	ImagePullCredentialsVerificationPolicy *string  `json:"imagePullCredentialsVerificationPolicy,omitempty"`
	PreloadedImagesVerificationAllowlist   []string `json:"preloadedImagesVerificationAllowlist,omitempty"`

	ContainerLogMaxSize         *string          `json:"containerLogMaxSize,omitempty"`
	ContainerLogMaxFiles        *int32           `json:"containerLogMaxFiles,omitempty"`
	ContainerLogMonitorInterval *metav1.Duration `json:"containerLogMonitorInterval,omitempty"`

	ShutdownGracePeriod              *metav1.Duration   `json:"shutdownGracePeriod,omitempty"`
	ShutdownGracePeriodCriticalPods  *metav1.Duration   `json:"shutdownGracePeriodCriticalPods,omitempty"`
	ShutdownGracePeriodByPodPriority []ShutdownPriority `json:"shutdownGracePeriodByPodPriority,omitempty"`

	MaxPods *int32 `json:"maxPods,omitempty"`
}

// ShutdownPriority is how long Pods of a priority, or a higher one up to the next
// in the list, have to end in when the node is shut down.
type ShutdownPriority struct {
	Priority                   int32 `json:"priority"`
	ShutdownGracePeriodSeconds int64 `json:"shutdownGracePeriodSeconds"`
}

// Over returns base with what k sets in place of what base has. A map, such as
// evictionHard, replaces the one of base as a whole.
func (k *Kubelet) Over(base *Kubelet) *Kubelet {
	if k == nil || base == nil {
		if k == nil {
			return base
		}
		return k
	}
	out := *base
	for _, m := range []struct{ to, from *map[string]string }{
		{&out.EvictionHard, &k.EvictionHard}, {&out.EvictionSoft, &k.EvictionSoft},
		{&out.EvictionSoftGracePeriod, &k.EvictionSoftGracePeriod}, {&out.EvictionMinimumReclaim, &k.EvictionMinimumReclaim},
	} {
		if *m.from != nil {
			*m.to = maps.Clone(*m.from)
		}
	}
	set(&out.EvictionPressureTransitionPeriod, k.EvictionPressureTransitionPeriod)
	set(&out.EvictionMaxPodGracePeriod, k.EvictionMaxPodGracePeriod)
	set(&out.MergeDefaultEvictionSettings, k.MergeDefaultEvictionSettings)
	set(&out.ImageGCHighThresholdPercent, k.ImageGCHighThresholdPercent)
	set(&out.ImageGCLowThresholdPercent, k.ImageGCLowThresholdPercent)
	set(&out.ImageMinimumGCAge, k.ImageMinimumGCAge)
	set(&out.ImageMaximumGCAge, k.ImageMaximumGCAge)
	set(&out.SerializeImagePulls, k.SerializeImagePulls)
	set(&out.MaxParallelImagePulls, k.MaxParallelImagePulls)
	set(&out.RegistryPullQPS, k.RegistryPullQPS)
	set(&out.RegistryBurst, k.RegistryBurst)
	set(&out.ImagePullCredentialsVerificationPolicy, k.ImagePullCredentialsVerificationPolicy)
	if k.PreloadedImagesVerificationAllowlist != nil {
		out.PreloadedImagesVerificationAllowlist = k.PreloadedImagesVerificationAllowlist
	}
	set(&out.ContainerLogMaxSize, k.ContainerLogMaxSize)
	set(&out.ContainerLogMaxFiles, k.ContainerLogMaxFiles)
	set(&out.ContainerLogMonitorInterval, k.ContainerLogMonitorInterval)
	set(&out.ShutdownGracePeriod, k.ShutdownGracePeriod)
	set(&out.ShutdownGracePeriodCriticalPods, k.ShutdownGracePeriodCriticalPods)
	if k.ShutdownGracePeriodByPodPriority != nil {
		out.ShutdownGracePeriodByPodPriority = k.ShutdownGracePeriodByPodPriority
	}
	set(&out.MaxPods, k.MaxPods)
	return &out
}

func set[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}
