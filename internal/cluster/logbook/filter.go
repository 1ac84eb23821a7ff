package logbook

import (
	"slices"
	"strings"
	"time"
)

// Filter says which lines are wanted. What is left empty restricts nothing.
type Filter struct {
	// Part is the name of a part. Parts whose names go on from it with a hyphen
	// belong to it: "dns" has the lines of "dns-metrics".
	Part string
	// Parts are names of parts; lines of any of these alone are wanted.
	Parts []string
	// Node wants the lines about a node; with OrNone those about no node as well.
	Node   string
	OrNone bool
	// Since and Before are the times from which and before which lines are wanted.
	Since, Before time.Time
}

// Selector applies a Filter to lines in their order.
type Selector struct {
	Filter
	last bool // whether the last line that has a time is wanted
}

// Wants tells whether the line is wanted. One without a time goes with the line
// before it.
func (s *Selector) Wants(l Line) bool {
	if l.Time.IsZero() {
		return s.last
	}
	s.last = s.wants(l)
	return s.last
}

func (f *Filter) wants(l Line) bool {
	if l.Time.Before(f.Since) || !f.Before.IsZero() && !l.Time.Before(f.Before) {
		return false
	}
	if node := l.Node(); f.Node != "" && node != f.Node && !(f.OrNone && node == "") {
		return false
	}
	return slices.ContainsFunc(l.Parts(), f.has) || f.Part == "" && len(f.Parts) == 0
}

func (f *Filter) has(part string) bool {
	return (f.Part == "" || Belongs(part, f.Part)) && (len(f.Parts) == 0 || slices.Contains(f.Parts, part))
}

// Belongs tells whether the part called name is part, or one of the parts that it
// consists of: "service-health" belongs to "services".
func Belongs(name, part string) bool {
	return name == part || strings.HasPrefix(name, part+"-") || strings.HasPrefix(name, strings.TrimSuffix(part, "s")+"-")
}
