package csi

import (
	"context"
	"fmt"
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
)

// numbered is one of many PersistentVolumes in a Pod.
func numbered(i int) Volume {
	v := volumeOf("u")
	v.Name = fmt.Sprintf("data-%d", i)
	v.Persistent.Name, v.Persistent.Spec.CSI.VolumeHandle = fmt.Sprintf("pv-%02d", i), fmt.Sprintf("h-%02d", i)
	v.Claim.Spec.VolumeName = v.Persistent.Name
	return v
}

// The volumes of a Pod end side by side, within a bound, and one that can't keeps none
// of the others.
func TestManyEndSideBySide(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	const many = 3 * sideBySide
	for i := range many {
		if _, err := b.SetUp(t.Context(), numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	inside, peak := 0, 0
	full := make(chan struct{})
	b.driver.set(func() {
		b.driver.hook = func(ctx context.Context, req any) error {
			r, ok := req.(*spec.NodeUnpublishVolumeRequest)
			if !ok {
				return nil
			}
			b.driver.set(func() {
				inside++
				if peak = max(peak, inside); inside == sideBySide && peak == sideBySide {
					select {
					case <-full:
					default:
						close(full)
					}
				}
			})
			defer b.driver.set(func() { inside-- })
			select {
			case <-full: // as many as may be are in a call
			case <-ctx.Done():
				return ctx.Err()
			}
			if r.VolumeId == "h-07" {
				return errBusy
			}
			return nil
		}
	})
	err := b.TearDown(t.Context(), "u")
	mustFail(t, err, `volume "pv-07"`)
	if strings.Count(err.Error(), "UnmountVolume.TearDown failed") != 1 {
		t.Errorf("more than one volume failed: %v", err)
	}
	if peak != sideBySide {
		t.Errorf("%d volumes were ended at the same time, want %d", peak, sideBySide)
	}
	if left := len(b.users["u"]); left != 1 {
		t.Errorf("%d volumes are left", left)
	}
	b.driver.set(func() { b.driver.hook = nil })
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Error(err)
	}
	b.nothingLeft(t)
}

// Two PersistentVolumes of one Pod may have the same handle: the volume is unstaged
// after the last of them.
func TestSameHandleTwiceInAPod(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	first, second := volumeOf("u"), volumeOf("u")
	second.Name, second.Persistent.Name = "other", "pv-other"
	for _, v := range []Volume{first, second} {
		if _, err := b.SetUp(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.driver.took(); got != "NodeStageVolume NodePublishVolume NodePublishVolume" {
		t.Error(got)
	}
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if got := b.driver.took(); got != "NodeUnpublishVolume NodeUnpublishVolume NodeUnstageVolume" {
		t.Error(got)
	}
	b.nothingLeft(t)
}
