// Package regex matches the regular expressions of Ingresses: paths of
// use-regex, server aliases, header patterns and certificate names. Their
// users wrote them for PCRE inside nginx, so they mean here what they mean
// there: leftmost match, alternatives in their order, look-around, atomic
// groups, possessive quantifiers, back references, conditions, recursion.
//
// Matching is on bytes, as nginx has it (it compiles without UTF mode): a dot
// takes one byte other than a newline, case is folded for ASCII letters
// alone, and a subject may hold any bytes.
//
// The work of a match is bounded by a count of steps, never by a clock. A
// pattern is tried first by plain backtracking, which is fastest for what
// people write. Where that takes long and the pattern has neither references
// nor conditions nor recursion, the match starts anew and remembers which
// states have failed, so that its time grows only linearly with the subject.
// A match that needs more than its bound ends in ErrSteps, never in a silent
// "no match". Go's own regexp is not used: it matches code points where
// nginx matches bytes, folds letters beyond ASCII, and sets captures of
// empty iterations otherwise than PCRE does.
//
// What is not served is refused with an error that says so: UTF mode and other
// options of the form (*UTF), verbs such as (*SKIP), callouts, conditions on
// recursion, names that several groups share, look-behind of a length that
// varies and may pass 255 bytes, and \K within look-arounds.
//
// The package is pure: no I/O, no clock, no mutable globals.
package regex
