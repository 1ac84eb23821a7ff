package settings

import (
	"errors"
	"fmt"
	"time"
)

// Images is when images that no container uses are removed.
type Images struct {
	// Where High percent of the disk or more are used, images go until Low percent
	// are. With 100 none goes for the disk's sake.
	High, Low int32
	// MinAge is how long an image stays in any case, MaxAge how long without being
	// used; 0 is for ever.
	MinAge, MaxAge time.Duration
}

// images reads the settings of the images. The kubelet's 85 percent are no
// default, for the disk is that of a whole machine: unused images are removed
// where less is left than imagefs.available asks for.
func (v *Values) images(k *Kubelet) error {
	v.Images = Images{High: 100, Low: 80, MinAge: 2 * time.Minute}
	high, low := k.ImageGCHighThresholdPercent, k.ImageGCLowThresholdPercent
	if high != nil {
		v.Images.High = *high
	}
	if low != nil {
		v.Images.Low = *low
	}
	switch {
	case v.Images.High < 0 || v.Images.High > 100:
		return fmt.Errorf("imageGCHighThresholdPercent %d: give a percentage from 0 to 100", v.Images.High)
	case v.Images.Low < 0 || v.Images.Low >= v.Images.High:
		return fmt.Errorf("imageGCLowThresholdPercent %d: give a percentage below imageGCHighThresholdPercent, which is %d", v.Images.Low, v.Images.High)
	}
	if d := k.ImageMinimumGCAge; d != nil {
		v.Images.MinAge = d.Duration
	}
	if d := k.ImageMaximumGCAge; d != nil {
		v.Images.MaxAge = d.Duration
	}
	switch least, most := v.Images.MinAge, v.Images.MaxAge; {
	case least < 0:
		return fmt.Errorf("imageMinimumGCAge %s: give a duration such as 2m", least)
	case most < 0 || most > 0 && most <= least:
		return fmt.Errorf("imageMaximumGCAge %s: give 0 or more than imageMinimumGCAge, which is %s", most, least)
	}
	return nil
}

// OfOneNode returns an error if a field is set that one node can't have for itself.
func (k *Kubelet) OfOneNode() error {
	if k != nil && (k.ImageGCHighThresholdPercent != nil || k.ImageGCLowThresholdPercent != nil || k.ImageMinimumGCAge != nil || k.ImageMaximumGCAge != nil) {
		return errors.New("imageGC…, imageMinimumGCAge and imageMaximumGCAge: all nodes share one store of images; set them for the cluster")
	}
	return nil
}
