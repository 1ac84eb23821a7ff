package csi

import (
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// limit is what the CSINode says.
func (b *bench) limit(t *testing.T) int32 {
	t.Helper()
	n, err := b.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a := n.Spec.Drivers[0].Allocatable; a != nil {
		return *a.Count
	}
	return 0
}

// follow looks at the limits at a time, and waits for that.
func (b *bench) follow(t *testing.T, at time.Time) {
	var group sync.WaitGroup
	b.followLimits(t.Context(), at, &group)
	group.Wait()
}

// A driver's limit is followed as often as its CSIDriver says, and left alone without
// that.
func TestLimitFollowed(t *testing.T) {
	b := newBench(t, csiDriver(nil))
	b.driver.set(func() { b.driver.limit = 9 })
	now := time.Now()
	b.follow(t, now)
	if got := b.limit(t); got != 5 {
		t.Errorf("without nodeAllocatableUpdatePeriodSeconds the limit is %d", got)
	}
	o := csiDriver(func(s *storagev1.CSIDriverSpec) { s.NodeAllocatableUpdatePeriodSeconds = ptr(int64(10)) })
	if _, err := b.client.StorageV1().CSIDrivers().Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.follow(t, now.Add(10*time.Second)) // the CSIDriver is not looked at so soon
	if got := b.limit(t); got != 5 {
		t.Errorf("the limit is %d before the CSIDriver was read again", got)
	}
	for _, step := range []struct {
		after   time.Duration
		has     int64
		want    int32
		refuses bool
	}{{limitLook, 9, 9, false}, {limitLook + 5*time.Second, 3, 9, false}, {limitLook + 10*time.Second, 3, 3, false}, {limitLook + 20*time.Second, 4, 3, true}, {2 * limitLook, 0, 0, false}} {
		b.driver.set(func() {
			b.driver.limit, b.driver.fail = step.has, map[string]error{}
			if step.refuses {
				b.driver.fail["NodeGetInfo"] = errBusy
			}
		})
		b.follow(t, now.Add(step.after))
		if got := b.limit(t); got != step.want {
			t.Errorf("after %s: %d, want %d", step.after, got, step.want)
		}
	}
	n, _ := b.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
	if d := n.Spec.Drivers[0]; d.NodeID != "id-of-n" || len(d.TopologyKeys) != 1 {
		t.Errorf("the rest of the entry has changed: %+v", d)
	}
}

// An attacher that was told that the node is full ends the wait, and has the limit be
// asked for at once, if the CSIDriver has it followed.
func TestFull(t *testing.T) {
	for _, follows := range []bool{false, true} {
		b := newBench(t, csiDriver(func(s *storagev1.CSIDriverSpec) {
			s.AttachRequired = nil
			if follows {
				s.NodeAllocatableUpdatePeriodSeconds = ptr(int64(600))
			}
		}))
		attachment := &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: attachmentName(volumeID{"d", "h"}, "n")},
			Status:     storagev1.VolumeAttachmentStatus{AttachError: &storagev1.VolumeError{Message: "full", ErrorCode: ptr(int32(codes.ResourceExhausted))}},
		}
		if _, err := b.client.StorageV1().VolumeAttachments().Create(t.Context(), attachment, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		b.driver.set(func() { b.driver.limit = 2 })
		if !follows {
			_, err := b.attached(t.Context(), volumeID{"d", "h"})
			mustFail(t, err, "full")
			if !errors.Is(err, errDetached) {
				t.Error(err)
			}
			continue
		}
		_, err := b.SetUp(t.Context(), volumeOf("u"))
		var full *LimitError
		if !errors.As(err, &full) || full.Driver != "d" || full.Message != "full" {
			t.Error(err)
		}
		if got := b.limit(t); got != 2 {
			t.Errorf("the limit is %d", got)
		}
		if err := b.TearDown(t.Context(), "u"); err != nil {
			t.Error(err)
		}
		b.nothingLeft(t)
	}
}
