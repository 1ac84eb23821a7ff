package evict

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Amount is a number of bytes, files or processes, or a share of what there is.
type Amount struct {
	Quantity int64
	// Share is from 0 to 1, and counts where Quantity is 0.
	Share float64
}

// Of is the amount where there is capacity in all.
func (a Amount) Of(capacity int64) int64 {
	if a.Quantity != 0 {
		return a.Quantity
	}
	return int64(float64(capacity) * a.Share)
}

// Threshold is how much has to be left.
type Threshold struct {
	Signal Signal
	// Least is what has to be left; Reclaim is how much more than that, once there
	// was less.
	Least, Reclaim Amount
	// Soft thresholds may be crossed for Grace before a Pod is evicted.
	Soft  bool
	Grace time.Duration
}

// Settings are the fields of a KubeletConfiguration that thresholds are made of.
// Hard, Soft, and MinimumReclaim have quantities or percentages by signal, and
// SoftGracePeriod has durations.
type Settings struct {
	Hard, Soft, SoftGracePeriod, MinimumReclaim map[string]string
}

// Thresholds reads them; an error names the field. A threshold of 0% or 100% is
// none, as the kubelet has it. They come in the order in which they are acted on,
// the hard ones of a signal first.
func (s Settings) Thresholds() ([]Threshold, error) {
	hard, err := thresholds("evictionHard", s.Hard, false)
	if err != nil {
		return nil, err
	}
	soft, err := thresholds("evictionSoft", s.Soft, true)
	if err != nil {
		return nil, err
	}
	grace, err := durations(s.SoftGracePeriod)
	if err != nil {
		return nil, err
	}
	reclaim, err := amounts("evictionMinimumReclaim", s.MinimumReclaim, true) // Kubernetes' own example has 0Mi
	if err != nil {
		return nil, err
	}
	for i := range soft {
		period, ok := grace[soft[i].Signal]
		if !ok {
			return nil, fmt.Errorf("evictionSoft[%s]: a soft threshold needs a grace period; give it in evictionSoftGracePeriod", soft[i].Signal)
		}
		soft[i].Grace = period
	}
	all := append(hard, soft...)
	for i := range all {
		all[i].Reclaim = reclaim[all[i].Signal]
	}
	slices.SortStableFunc(all, func(a, b Threshold) int { return slices.Index(signals, a.Signal) - slices.Index(signals, b.Signal) })
	return all, nil
}

func thresholds(field string, values map[string]string, soft bool) ([]Threshold, error) {
	read, err := amounts(field, values, false)
	if err != nil {
		return nil, err
	}
	var out []Threshold
	for _, s := range signals {
		a, ok := read[s]
		switch {
		case !ok || a.Quantity == 0 && (a.Share == 0 || a.Share == 1):
		default:
			out = append(out, Threshold{Signal: s, Least: a, Soft: soft})
		}
	}
	return out, nil
}

// amounts reads a field; zero says that an amount of it may be 0.
func amounts(field string, values map[string]string, zero bool) (map[Signal]Amount, error) {
	out := map[Signal]Amount{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !known(Signal(name)) {
			return nil, fmt.Errorf("%s[%s]: there is no such signal; the signals are %s", field, name, Names())
		}
		a, err := parseAmount(values[name], zero)
		if err != nil {
			return nil, fmt.Errorf("%s[%s]: %w", field, name, err)
		}
		out[Signal(name)] = a
	}
	return out, nil
}

// parseAmount reads a quantity such as 100Mi or a percentage such as 10%.
func parseAmount(text string, zero bool) (Amount, error) {
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		f, err := strconv.ParseFloat(percent, 64)
		if err != nil || math.IsNaN(f) || f < 0 || f > 100 {
			return Amount{}, fmt.Errorf("%q is no percentage from 0%% to 100%%", text)
		}
		return Amount{Share: f / 100}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err == nil && zero && q.Sign() == 0 {
		return Amount{}, nil
	}
	if err != nil || q.Sign() <= 0 {
		return Amount{}, fmt.Errorf("%q is neither a quantity above 0, such as 100Mi, nor a percentage, such as 10%%", text)
	}
	return Amount{Quantity: q.Value()}, nil
}

func durations(values map[string]string) (map[Signal]time.Duration, error) {
	out := map[Signal]time.Duration{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !known(Signal(name)) {
			return nil, fmt.Errorf("evictionSoftGracePeriod[%s]: there is no such signal; the signals are %s", name, Names())
		}
		d, err := time.ParseDuration(values[name])
		if err != nil || d < 0 {
			return nil, fmt.Errorf("evictionSoftGracePeriod[%s]: %q is no duration such as 90s", name, values[name])
		}
		out[Signal(name)] = d
	}
	return out, nil
}

// Hard is what the hard threshold of a signal leaves out of what Pods may ask
// for, where there is capacity in all; 0 without one.
func Hard(all []Threshold, s Signal, capacity int64) int64 {
	for _, t := range all {
		if t.Signal == s && !t.Soft {
			return t.Least.Of(capacity)
		}
	}
	return 0
}

// quantity prints an amount of a resource as the kubelet does.
func quantity(r v1.ResourceName, n int64) string {
	format := resource.BinarySI
	if r == resourceInodes || r == resourcePIDs {
		format = resource.DecimalSI
	}
	return resource.NewQuantity(n, format).String()
}
