package host

import (
	"slices"
	"strings"
)

// LinkCounters is what has passed an interface.
type LinkCounters struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Counters are those of the namespace's interfaces but for loopback, sorted by name.
func (n Netns) Counters() ([]LinkCounters, error) {
	h, err := n.Handle()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := ListLinks(h)
	if err != nil {
		return nil, err
	}
	var out []LinkCounters
	for _, link := range links {
		a := link.Attrs()
		if s := a.Statistics; a.Name != "lo" && s != nil {
			out = append(out, LinkCounters{
				Name:    a.Name,
				RxBytes: s.RxBytes, RxPackets: s.RxPackets, RxErrors: s.RxErrors, RxDropped: s.RxDropped,
				TxBytes: s.TxBytes, TxPackets: s.TxPackets, TxErrors: s.TxErrors, TxDropped: s.TxDropped,
			})
		}
	}
	slices.SortFunc(out, func(a, b LinkCounters) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
