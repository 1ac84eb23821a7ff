package report

import (
	"encoding/json"
	"fmt"
	"strconv"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"minato/internal/node/status"
)

// withOthers takes the conditions that are not the node's from the newest Pod:
// whoever set them may have done so after the status was computed.
func withOthers(pod *v1.Pod, want v1.PodStatus) v1.PodStatus {
	out := want
	out.Conditions = nil
	own := map[v1.PodConditionType]bool{}
	for _, c := range want.Conditions {
		own[c.Type] = own[c.Type] || status.Own(c)
	}
	for _, c := range pod.Status.Conditions {
		if !status.Owned(c.Type) && !own[c.Type] {
			out.Conditions = append(out.Conditions, c)
		}
	}
	for _, c := range want.Conditions {
		if status.Own(c) {
			out.Conditions = append(out.Conditions, c)
		}
	}
	return out
}

// difference is a strategic merge patch of the status, nil if there is none. It
// names the Pod's UID, so that it never hits a later Pod of the same name.
func difference(pod *v1.Pod, want v1.PodStatus) ([]byte, error) {
	before, err := json.Marshal(v1.Pod{Status: pod.Status})
	if err != nil {
		return nil, fmt.Errorf("encode pod status: %w", err)
	}
	after, err := json.Marshal(v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: want})
	if err != nil {
		return nil, fmt.Errorf("encode pod status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, v1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("compare pod statuses: %w", err)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(patch, &parts); err != nil {
		return nil, fmt.Errorf("compare pod statuses: %w", err)
	}
	if parts["status"] == nil {
		return nil, nil
	}
	return patch, nil
}

// newer tells whether a is a later version of the Pod than b.
func newer(a, b *v1.Pod) bool {
	x, errX := strconv.ParseUint(a.ResourceVersion, 10, 64)
	y, errY := strconv.ParseUint(b.ResourceVersion, 10, 64)
	return errX != nil || errY != nil || x >= y
}
