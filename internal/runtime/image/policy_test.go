package image

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func minute(n int) time.Time { return time.Unix(0, 0).Add(time.Duration(n) * time.Minute) }

// Images go in the kubelet's order, which is that of its image manager
// (byLastUsedAndDetected), and none that is new.
func TestWhichImagesGoFirst(t *testing.T) {
	never := time.Time{}
	all := []Unused[string]{
		{"new", "new", minute(99), never}, {"used", "used", minute(1), minute(50)}, {"old", "old", minute(5), never},
		{"older", "older", minute(2), never}, {"used before", "used before", minute(1), minute(40)}, {"twin", "twin", minute(5), never},
	}
	for _, c := range []struct {
		name            string
		began           time.Time
		policy          Policy
		expired, others []string
	}{
		{"no age", minute(0), Policy{}, nil, []string{"older", "old", "twin", "new", "used before", "used"}},
		{"a least age", minute(0), Policy{MinAge: 2 * time.Minute}, nil, []string{"older", "old", "twin", "used before", "used"}},
		{"just old enough", minute(0), Policy{MinAge: time.Minute}, nil, []string{"older", "old", "twin", "new", "used before", "used"}},
		// An image that was never used has been unused since it came.
		{"a greatest age", minute(0), Policy{MaxAge: 55 * time.Minute}, []string{"older", "old", "twin", "used before"}, []string{"new", "used"}},
		{"unused for as long, not longer", minute(0), Policy{MaxAge: 60 * time.Minute}, []string{"older", "old", "twin"}, []string{"new", "used before", "used"}},
		{"begun since", minute(45), Policy{MaxAge: 55 * time.Minute}, nil, []string{"older", "old", "twin", "new", "used before", "used"}},
	} {
		expired, others := Choose(c.policy, all, c.began, minute(100))
		if !slices.Equal(expired, c.expired) || !slices.Equal(others, c.others) {
			t.Errorf("%s: %q and %q, want %q and %q", c.name, expired, others, c.expired, c.others)
		}
	}
}

// How much is freed: the kubelet counts a percent in use that is so in part, and frees
// down to the lower threshold. At 100 it does not look (kubelet.go, StartGarbageCollection).
func TestHowMuchIsFreed(t *testing.T) {
	p := Policy{High: 85, Low: 80}
	for _, c := range []struct {
		policy              Policy
		capacity, available int64
		want                int64
	}{
		{p, 1000, 1000, 0}, {p, 1000, 160, 0}, {p, 1000, 150, 50}, {p, 1000, 100, 100}, {p, 1000, 0, 200},
		{p, 1000, 159, 41}, // 84.1 percent count as 85
		{p, 0, 0, 0},       // nothing is known of it
		{p, 1000, 1100, 0}, // more than there is
		{Policy{High: 100, Low: 80}, 1000, 0, 0},
		{Policy{High: 99, Low: 80}, 1000, 10, 190},
		{Policy{High: 100, Low: 80, MaxAge: time.Hour}, 1000, 0, 0},
		{p, math.MaxInt64 / 100, 0, math.MaxInt64 / 100 * 20 / 100},
	} {
		if got := c.policy.excess(Disk{Capacity: c.capacity, Available: c.available}); got != c.want {
			t.Errorf("%+v: of %d with %d left, %d are freed, want %d", c.policy, c.capacity, c.available, got, c.want)
		}
	}
}

// What has expired goes first, and then enough for the disk; what can't be freed is told.
func TestClean(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		high    int
		disk    Disk
		errs    map[string]error // of "disk" and of images
		removed string
		failure string
	}{
		{"room enough", 85, Disk{"/d", 1000, 500}, nil, "old", ""},
		{"a full disk", 85, Disk{"/d", 1000, 150}, nil, "old a", ""},
		{"a fuller disk", 85, Disk{"/d", 1000, 140}, nil, "old a b", ""},
		{"full of other files", 85, Disk{"/d", 1000, 0}, nil, "old a b", "100% of the disk of /d are used, and the images that could be removed took 100 bytes of the 200"},
		{"no threshold", 100, Disk{"/d", 1000, 0}, map[string]error{"disk": broken}, "old", ""},
		{"an unknown disk", 85, Disk{}, nil, "old", ""},
		{"a disk that can't be looked at", 85, Disk{}, map[string]error{"disk": broken}, "old", "broken"},
		{"an old image that stays", 85, Disk{"/d", 1000, 0}, map[string]error{"old": broken}, "", "broken"},
		{"another that stays", 85, Disk{"/d", 1000, 0}, map[string]error{"b": broken}, "old a", "broken"},
	} {
		var removed []string
		err := Clean(Policy{High: c.high, Low: 80}, []string{"old"}, []string{"a", "b"},
			func() (Disk, error) { return c.disk, c.errs["disk"] },
			func(images []string, enough int64) (freed int64, err error) {
				for _, img := range images {
					if freed >= enough {
						break
					}
					if err := c.errs[img]; err != nil {
						return freed, err
					}
					removed, freed = append(removed, img), freed+50
				}
				return freed, nil
			})
		if got := strings.Join(removed, " "); got != c.removed || (err == nil) != (c.failure == "") || err != nil && !strings.Contains(err.Error(), c.failure) {
			t.Errorf("%s: removed %q, %v; want %q, %q", c.name, got, err, c.removed, c.failure)
		}
	}
}
