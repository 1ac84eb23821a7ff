package settings

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"minato/internal/node/evict"
)

// What is so where a field is left out. The disks' thresholds are not the
// kubelet's 10 and 15 percent: the nodes' disk is that of a whole machine, on
// which so much is often not left, and nothing wrong with it. The pids' is one
// that a kubelet has not.
const (
	DefaultTransition  = 5 * time.Minute
	DefaultLogSize     = 10 << 20
	DefaultLogFiles    = 5
	DefaultLogInterval = 30 * time.Second
	DefaultMaxPods     = 110
)

// defaultHard are the hard thresholds that a node has by default.
func defaultHard() map[string]string {
	return map[string]string{
		string(evict.MemoryAvailable): "100Mi", string(evict.PIDAvailable): "10%",
		string(evict.NodeFsAvailable): "512Mi", string(evict.NodeFsInodesFree): "1%",
		string(evict.ImageFsAvailable): "512Mi", string(evict.ImageFsInodesFree): "1%",
	}
}

// Values are what a node does.
type Values struct {
	// Eviction has the thresholds as they were given, defaults included, and
	// Thresholds what was read of them.
	Eviction   evict.Settings
	Thresholds []evict.Threshold
	// Transition is how long a condition about pressure stays after its cause.
	Transition time.Duration
	Images     Images
	Pulls      Pulls
	// MaxGrace is what a Pod has at most to end in, in seconds, when a soft
	// threshold was crossed.
	MaxGrace int64
	// LogSize is the size of a container's log, in bytes, at which it is rotated,
	// and LogFiles how many files there are of it, the present one included.
	LogSize     int64
	LogFiles    int
	LogInterval time.Duration
	// Shutdown is sorted by priority. Without one, Pods end side by side.
	Shutdown []ShutdownPriority
	MaxPods  int64

	given Kubelet
}

// Values are what the fields and the defaults come to; nil stands for no field.
// An error names the field.
func (k *Kubelet) Values() (Values, error) {
	if k == nil {
		k = &Kubelet{}
	}
	v := Values{
		Transition: DefaultTransition, LogSize: DefaultLogSize, LogFiles: DefaultLogFiles, LogInterval: DefaultLogInterval,
		MaxPods: DefaultMaxPods, given: *k,
	}
	return v, errors.Join(v.eviction(k), v.images(k), v.pulls(k), v.logs(k), v.shutdown(k), v.pods(k))
}

func (v *Values) eviction(k *Kubelet) error {
	v.Eviction = evict.Settings{
		Hard: k.EvictionHard, Soft: k.EvictionSoft, SoftGracePeriod: k.EvictionSoftGracePeriod, MinimumReclaim: k.EvictionMinimumReclaim,
	}
	switch merge := k.MergeDefaultEvictionSettings != nil && *k.MergeDefaultEvictionSettings; {
	case k.EvictionHard == nil:
		v.Eviction.Hard = defaultHard()
	case merge:
		v.Eviction.Hard = defaultHard()
		maps.Copy(v.Eviction.Hard, k.EvictionHard)
	}
	var err error
	if v.Thresholds, err = v.Eviction.Thresholds(); err != nil {
		return err
	}
	if d := k.EvictionPressureTransitionPeriod; d != nil {
		if d.Duration < 0 {
			return fmt.Errorf("evictionPressureTransitionPeriod %s: give a duration such as 5m", d.Duration)
		}
		v.Transition = d.Duration
	}
	if n := k.EvictionMaxPodGracePeriod; n != nil {
		if *n < 0 {
			return fmt.Errorf("evictionMaxPodGracePeriod %d: give a number of seconds, 0 or more", *n)
		}
		v.MaxGrace = int64(*n)
	}
	return nil
}

func (v *Values) logs(k *Kubelet) error {
	if k.ContainerLogMaxSize != nil {
		q, err := resource.ParseQuantity(*k.ContainerLogMaxSize)
		if err != nil || q.Sign() <= 0 {
			return fmt.Errorf("containerLogMaxSize %q: give a size such as 10Mi", *k.ContainerLogMaxSize)
		}
		v.LogSize = q.Value()
	}
	if n := k.ContainerLogMaxFiles; n != nil {
		if *n < 2 {
			return fmt.Errorf("containerLogMaxFiles %d: a log has at least 2 files", *n)
		}
		v.LogFiles = int(*n)
	}
	if d := k.ContainerLogMonitorInterval; d != nil {
		if d.Duration < 3*time.Second {
			return fmt.Errorf("containerLogMonitorInterval %s: give 3s or more", d.Duration)
		}
		v.LogInterval = d.Duration
	}
	return nil
}

func (v *Values) pods(k *Kubelet) error {
	if n := k.MaxPods; n != nil {
		if *n < 1 {
			return fmt.Errorf("maxPods %d: give a number above 0", *n)
		}
		v.MaxPods = int64(*n)
	}
	return nil
}

// Fill sets the fields in the kubelet's form as they are in effect.
func (v Values) Fill(k *kubeletv1beta1.KubeletConfiguration) {
	k.EvictionHard, k.EvictionSoft = v.Eviction.Hard, v.Eviction.Soft
	k.EvictionSoftGracePeriod, k.EvictionMinimumReclaim = v.Eviction.SoftGracePeriod, v.Eviction.MinimumReclaim
	k.EvictionPressureTransitionPeriod.Duration, k.EvictionMaxPodGracePeriod = v.Transition, int32(v.MaxGrace)
	k.MergeDefaultEvictionSettings = v.given.MergeDefaultEvictionSettings
	files := int32(v.LogFiles)
	k.ContainerLogMaxFiles, k.ContainerLogMaxSize = &files, resource.NewQuantity(v.LogSize, resource.BinarySI).String()
	k.ContainerLogMonitorInterval = &metav1.Duration{Duration: v.LogInterval}
	k.MaxPods = int32(v.MaxPods)
	k.ImageGCHighThresholdPercent, k.ImageGCLowThresholdPercent = &v.Images.High, &v.Images.Low
	k.ImageMinimumGCAge.Duration, k.ImageMaximumGCAge.Duration = v.Images.MinAge, v.Images.MaxAge
	v.Pulls.fill(k)
	if d := v.given.ShutdownGracePeriod; d != nil {
		k.ShutdownGracePeriod = *d
	}
	if d := v.given.ShutdownGracePeriodCriticalPods; d != nil {
		k.ShutdownGracePeriodCriticalPods = *d
	}
	for _, p := range v.given.ShutdownGracePeriodByPodPriority {
		k.ShutdownGracePeriodByPodPriority = append(k.ShutdownGracePeriodByPodPriority, kubeletv1beta1.ShutdownGracePeriodByPodPriority(p))
	}
}
