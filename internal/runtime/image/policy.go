package image

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Policy says which images that no container uses go, and when. It has the
// kubelet's settings, and decides as the kubelet's image manager does, by what it is
// told alone.
type Policy struct {
	// Where High percent of the disk or more are used, images go until Low percent
	// are. With 100 none goes for the disk's sake.
	High, Low int
	// MinAge is how long an image stays in any case, MaxAge how long without being
	// used; 0 is for ever.
	MinAge, MaxAge time.Duration
}

// Unused is an image that no container uses.
type Unused[T any] struct {
	Image T
	ID    string
	// Added is when it came, or was seen first. Used is when a container was last
	// seen with it, zero for never.
	Added, Used time.Time
}

// Disk is the one that the images are on, in bytes. Without a capacity nothing is
// known of it.
type Disk struct {
	Name                string
	Capacity, Available int64
}

// Choose returns the images that may go, in the order in which they do: those that
// were not used for longest, and of these those that are here for longest. The expired
// ones go whatever is left of the disk. Which images were used before is not known for
// as long after began.
func Choose[T any](p Policy, unused []Unused[T], began, now time.Time) (expired, others []T) {
	unused = slices.DeleteFunc(slices.Clone(unused), func(u Unused[T]) bool { return now.Sub(u.Added) < p.MinAge })
	slices.SortFunc(unused, func(a, b Unused[T]) int {
		return cmp.Or(a.Used.Compare(b.Used), a.Added.Compare(b.Added), cmp.Compare(a.ID, b.ID))
	})
	for _, u := range unused {
		last := u.Used
		if u.Added.After(last) {
			last = u.Added
		}
		if p.MaxAge > 0 && now.Sub(last) > p.MaxAge && now.Sub(began) > p.MaxAge {
			expired = append(expired, u.Image)
		} else {
			others = append(others, u.Image)
		}
	}
	return expired, others
}

// excess is how many bytes are to be freed on a disk; 0 where that is not due.
func (p Policy) excess(d Disk) int64 {
	if p.High >= 100 || d.Capacity <= 0 || d.percentUsed() < p.High {
		return 0
	}
	return max(0, d.Capacity*int64(100-p.Low)/100-d.Available)
}

// percentUsed counts a percent that is used in part as used, as the kubelet does.
func (d Disk) percentUsed() int { return 100 - int(min(d.Available, d.Capacity)*100/d.Capacity) }

// Clean has the images removed that have expired, and enough others for the disk, which
// is looked at in between if it matters. remove removes images, in order, until so many
// bytes are free.
func Clean[T any](p Policy, expired, others []T, look func() (Disk, error), remove func(images []T, enough int64) (freed int64, err error)) error {
	if _, err := remove(expired, math.MaxInt64); err != nil || p.High >= 100 {
		return err
	}
	disk, err := look()
	if err != nil {
		return err
	}
	excess := p.excess(disk)
	if excess == 0 {
		return nil
	}
	freed, err := remove(others, excess)
	if err == nil && freed < excess {
		err = fmt.Errorf("%d%% of the disk of %s are used, and the images that could be removed took %d bytes of the %d that were to be freed: containers, volumes, logs or other files take the rest",
			disk.percentUsed(), disk.Name, freed, excess)
	}
	return err
}
