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
	// Parts are names of parts, of any of which a line may be.
	Parts []string
	Node  string
	// OrNoNode wants the lines as well that are about no node in particular.
	OrNoNode bool
	// Since leaves out earlier lines, Before those from then on.
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
	s.last = !l.Time.Before(s.Since) &&
		(s.Before.IsZero() || l.Time.Before(s.Before)) &&
		(s.Node == "" || l.Node() == s.Node || s.OrNoNode && l.Node() == "") &&
		(len(s.Parts) == 0 || slices.ContainsFunc(l.Parts(), func(name string) bool { return slices.Contains(s.Parts, name) })) &&
		(s.Part == "" || slices.ContainsFunc(l.Parts(), func(name string) bool { return Belongs(name, s.Part) }))
	return s.last
}

// Belongs tells whether the part called name is part, or one of the parts that it
// consists of: "service-health" belongs to "services".
func Belongs(name, part string) bool {
	return name == part || strings.HasPrefix(name, part+"-") || strings.HasPrefix(name, strings.TrimSuffix(part, "s")+"-")
}
