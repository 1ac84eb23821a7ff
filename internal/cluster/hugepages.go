package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"minato/internal/host"
)

// HugePages is how much a node has of huge pages: bytes by the size of a page in bytes. It is
// a flag, too, such as 2Mi=128Mi,1Gi=2Gi.
type HugePages map[Size]Size

// with returns the pages with those of one size added or replaced.
func (h HugePages) with(page, bytes Size) HugePages {
	if h = maps.Clone(h); h == nil {
		h = HugePages{}
	}
	h[page] = bytes
	return h
}

// Set implements pflag.Value: it adds sizes, or with an empty text takes all away.
func (h *HugePages) Set(text string) error {
	if text == "" {
		*h = nil
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		page, bytes, ok := strings.Cut(strings.TrimPrefix(part, "hugepages-"), "=")
		size, err := resource.ParseQuantity(page)
		if !ok || err != nil {
			return fmt.Errorf("%q: give a size of pages and how much of them, such as 2Mi=128Mi", part)
		}
		much, err := resource.ParseQuantity(bytes)
		if err != nil {
			return fmt.Errorf("%q: %q is not a size such as 128Mi or 1Gi", part, bytes)
		}
		*h = h.with(Size(size.Value()), Size(much.Value()))
	}
	return nil
}

// String implements pflag.Value.
func (h *HugePages) String() string {
	var parts []string
	for _, page := range slices.Sorted(maps.Keys(*h)) {
		parts = append(parts, h.part(page))
	}
	return strings.Join(parts, ",")
}

// part is what the flag says of one size.
func (h *HugePages) part(page Size) string { return quantity(page) + "=" + quantity((*h)[page]) }

// Type implements pflag.Value.
func (h *HugePages) Type() string { return "SIZE=BYTES,..." }

func quantity(s Size) string { return resource.NewQuantity(int64(s), resource.BinarySI).String() }

// bytes are the pages for a node.
func (h HugePages) bytes() map[int64]int64 {
	if len(h) == 0 {
		return nil
	}
	out := map[int64]int64{}
	for page, bytes := range h {
		out[int64(page)] = int64(bytes)
	}
	return out
}

// validate returns an error for the first size that no machine has in that number.
func (h HugePages) validate() error {
	for _, page := range slices.Sorted(maps.Keys(h)) {
		switch bytes := h[page]; {
		case page <= 0 || page&(page-1) != 0:
			return fmt.Errorf("--node-hugepages %s: no machine has huge pages of %s; sizes are powers of two, such as 2Mi and 1Gi", h.part(page), quantity(page))
		case bytes < 0 || bytes%page != 0:
			return fmt.Errorf("--node-hugepages %s: give a multiple of %s, or 0 for none", h.part(page), quantity(page))
		}
	}
	return nil
}

// check tells what a machine with these pools can't give a node.
func (h HugePages) check(pools func() ([]host.HugePages, error)) error {
	if len(h) == 0 {
		return nil
	}
	if err := host.HugePagesLimits(); err != nil {
		return fmt.Errorf("--node-hugepages can't be enforced: %w: leave it out, or boot with a kernel that has the cgroup controller", err)
	}
	have, err := pools()
	if err != nil {
		return err
	}
	var sizes []string
	for _, p := range have {
		sizes = append(sizes, quantity(Size(p.Size)))
	}
	for _, page := range slices.Sorted(maps.Keys(h)) {
		i := slices.IndexFunc(have, func(p host.HugePages) bool { return p.Size == int64(page) })
		if i < 0 {
			return fmt.Errorf("--node-hugepages %s: this machine has no huge pages of that size; those that it can have: %s", h.part(page), orNone(sizes))
		}
		if pool := have[i]; int64(h[page]) > pool.Size*pool.Total {
			return fmt.Errorf("--node-hugepages %s: this machine's pool has %s of them, and a node can't have more; `%s` makes it larger where memory is free",
				h.part(page), quantity(Size(pool.Size*pool.Total)), pool.Grow(int64(h[page])/pool.Size))
		}
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
