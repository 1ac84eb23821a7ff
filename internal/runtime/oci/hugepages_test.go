package oci

import (
	"errors"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A limit of huge pages is given to the OCI runtime where that sets it, and refused
// where nothing does.
func TestHugePagesOfContainers(t *testing.T) {
	asked, none := []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 6}}, []*runtimeapi.HugepageLimit{{PageSize: "2MB"}}
	for by, want := range map[hugetlb]int{hugetlbOCI: 1, hugetlbOwn: 0} {
		got, err := (&Runtime{hugetlb: by}).hugePages(asked)
		if err != nil || len(got) != want || want > 0 && (got[0].Pagesize != "2MB" || got[0].Limit != 6) {
			t.Errorf("set by %d: %v, %v", by, got, err)
		}
	}
	if got, err := (&Runtime{}).hugePages(asked); !errors.Is(err, ErrUnsupported) {
		t.Errorf("set by nothing: %v, %v", got, err)
	}
	if got, err := (&Runtime{}).hugePages(none); err != nil || len(got) != 0 {
		t.Errorf("not asked for: %v, %v", got, err)
	}
}
