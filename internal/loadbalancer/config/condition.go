package config

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConditionAccepted is the type of the condition that tells what became of an object.
const ConditionAccepted = "Accepted"

// Reasons of the condition.
const (
	ReasonAccepted       = "Accepted"       // the whole object is followed
	ReasonPartlyAccepted = "PartlyAccepted" // some fields are not
	ReasonInvalid        = "Invalid"        // nothing of it is
)

// ProblemsOf returns the problems of one object.
func (c *Config) ProblemsOf(o Object) []Problem {
	var all []Problem
	for _, p := range c.Problems {
		if p.Object == o {
			all = append(all, p)
		}
	}
	return all
}

// Condition tells what became of an object, for its status. It has no time, which the writer sets.
func (c *Config) Condition(o Object, generation int64) metav1.Condition {
	condition := metav1.Condition{
		Type:               ConditionAccepted,
		Status:             metav1.ConditionTrue,
		Reason:             ReasonAccepted,
		ObservedGeneration: generation,
	}
	problems := c.ProblemsOf(o)
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.text())
	}
	condition.Message = truncate(strings.Join(lines, "\n"), 32768) // what the schema of conditions takes
	switch {
	case slices.ContainsFunc(problems, func(p Problem) bool { return p.Unused }):
		condition.Status, condition.Reason = metav1.ConditionFalse, ReasonInvalid
	case len(problems) > 0:
		condition.Reason = ReasonPartlyAccepted
	}
	return condition
}

// String names the object and what is wrong with it.
func (p Problem) String() string { return p.Object.String() + ": " + p.text() }

func (p Problem) text() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// String returns the kind and the name, with the namespace if it isn't the usual one.
func (o Object) String() string {
	if o.Namespace == "" || o.Namespace == Namespace {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// truncate cuts text to a number of bytes, at the end of a rune.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
}
