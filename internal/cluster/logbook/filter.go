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
	Part  string
	Node  string
	Since time.Time
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
	s.last = !l.Time.Before(s.Since) &&
		(s.Node == "" || l.Node() == s.Node) &&
		(s.Part == "" || slices.ContainsFunc(l.Parts(), func(name string) bool { return Belongs(name, s.Part) }))
	return s.last
}

// Belongs tells whether the part called name is part, or one of the parts that it
// consists of: "service-health" belongs to "services".
func Belongs(name, part string) bool {
	return name == part || strings.HasPrefix(name, part+"-") || strings.HasPrefix(name, strings.TrimSuffix(part, "s")+"-")
}
