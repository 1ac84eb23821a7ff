package node

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"minato/internal/node/pod"
)

var _ pod.Measures = (*syncs)(nil)

// The first look at the runtime has no interval, and each later one that since the look before it began.
func TestSyncsOfLooks(t *testing.T) {
	s, at := newSyncs(), time.Unix(1000, 0)
	s.Relisted(at, at.Add(500*time.Millisecond))
	if n := testutil.CollectAndCount(s, "kubelet_pleg_relist_interval_seconds"); n != 1 {
		t.Fatalf("%d histograms of intervals", n)
	}
	s.Relisted(at.Add(time.Minute), at.Add(time.Minute+250*time.Millisecond))
	if err := testutil.CollectAndCompare(s, strings.NewReader(`
# HELP kubelet_pleg_last_seen_seconds Timestamp in seconds when PLEG was last seen active.
# TYPE kubelet_pleg_last_seen_seconds gauge
kubelet_pleg_last_seen_seconds 1060.25
# HELP kubelet_pleg_relist_interval_seconds Interval in seconds between relisting in PLEG.
# TYPE kubelet_pleg_relist_interval_seconds histogram
kubelet_pleg_relist_interval_seconds_bucket{le="0.1"} 0
kubelet_pleg_relist_interval_seconds_bucket{le="1"} 0
kubelet_pleg_relist_interval_seconds_bucket{le="10"} 0
kubelet_pleg_relist_interval_seconds_bucket{le="30"} 0
kubelet_pleg_relist_interval_seconds_bucket{le="60"} 1
kubelet_pleg_relist_interval_seconds_bucket{le="75"} 1
kubelet_pleg_relist_interval_seconds_bucket{le="90"} 1
kubelet_pleg_relist_interval_seconds_bucket{le="120"} 1
kubelet_pleg_relist_interval_seconds_bucket{le="180"} 1
kubelet_pleg_relist_interval_seconds_bucket{le="300"} 1
kubelet_pleg_relist_interval_seconds_bucket{le="+Inf"} 1
kubelet_pleg_relist_interval_seconds_sum 60
kubelet_pleg_relist_interval_seconds_count 1
`), "kubelet_pleg_last_seen_seconds", "kubelet_pleg_relist_interval_seconds"); err != nil {
		t.Error(err)
	}
}
