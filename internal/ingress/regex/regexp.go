package regex

import (
	"strings"
	"sync"
	"unsafe"
)

// DefaultMaxSteps bounds a match where Options do not: a few milliseconds.
// PCRE's own bound is 10,000,000.
const DefaultMaxSteps = 250_000

// maxSubject keeps positions within 32 bits with room to spare.
const maxSubject = 1 << 30

// Options say how a pattern is meant.
type Options struct {
	// IgnoreCase folds ASCII letters, as nginx's ~* and PCRE's (?i) do.
	IgnoreCase bool
	// MaxSteps bounds the steps of a match; 0 stands for DefaultMaxSteps.
	MaxSteps int
}

// Regexp is a compiled pattern. It may be used by many goroutines at once.
type Regexp struct {
	src      string
	captures int
	names    map[string]int
	anchored bool
	prefix   Prefix
	maxSteps int
	fast     *program
	plain    *program // remembers failed states; nil where that can't be
	machines sync.Pool
}

// Compile reads a pattern as nginx has PCRE read it: on bytes, a newline
// being LF, $ also before a newline that ends the subject. The error is a
// *SyntaxError; it tells the place and the remedy.
func Compile(pattern string, o Options) (*Regexp, error) {
	p := &parser{src: pattern, flags: flags{fold: o.IgnoreCase}, names: map[string]int{}, numbered: map[int]string{}, bodies: map[int]*node{}}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	re := &Regexp{src: pattern, captures: p.highest, names: p.names, anchored: root.anchored(), maxSteps: o.MaxSteps}
	if re.maxSteps <= 0 {
		re.maxSteps = DefaultMaxSteps
	}
	if re.fast = compile(p, root, false); re.fast == nil {
		return nil, p.fail(0, "lower the counts of its repeated groups", "the pattern takes more than %d instructions when its repetitions are written out", maxProgram)
	}
	if !p.backtracks && !p.recurses {
		if re.plain = compile(p, root, true); re.plain != nil && (len(re.plain.loops) > maxEmptyLoops || re.plain.splits == 0) {
			re.plain = nil
		}
	}
	re.prefix = prefixOf(root)
	re.machines.New = func() any { return &machine{} }
	return re, nil
}

// String returns the pattern as it was given.
func (re *Regexp) String() string { return re.src }

// Prefix returns what every match begins with.
func (re *Regexp) Prefix() Prefix { return re.prefix }

// Match tells whether the pattern matches anywhere in s. The error is nil or
// ErrSteps.
func (re *Regexp) Match(s string) (bool, error) {
	if ok, sure := re.byPrefix(s); sure {
		return ok, nil
	}
	m := re.machines.Get().(*machine)
	ok, err := re.search(m, s)
	m.release()
	re.machines.Put(m)
	return ok, err
}

// MatchInto returns the offsets of the leftmost match and its captures: the
// bytes of capture n are s[caps[2n]:caps[2n+1]], the whole match being n = 0;
// both are -1 for a group that took no part. It returns nil without a match.
// The result uses the memory of caps if two ints for each group and for the whole fit there.
// The error is nil or ErrSteps.
func (re *Regexp) MatchInto(s string, caps []int) ([]int, error) {
	ok, sure := re.byPrefix(s)
	if sure {
		if !ok {
			return nil, nil
		}
		if re.captures == 0 {
			return append(caps[:0], 0, len(re.prefix.Text)), nil
		}
	}
	m := re.machines.Get().(*machine)
	ok, err := re.search(m, s)
	if ok {
		caps = caps[:0]
		for i := 0; i < 2*(re.captures+1); i++ {
			caps = append(caps, int(m.slots[i]))
		}
	} else {
		caps = nil
	}
	m.release()
	re.machines.Put(m)
	return caps, err
}

// MatchBytes is Match for bytes, which it neither keeps nor copies.
func (re *Regexp) MatchBytes(b []byte) (bool, error) {
	return re.Match(unsafe.String(unsafe.SliceData(b), len(b)))
}

// byPrefix decides by the literal prefix alone, where that is enough.
func (re *Regexp) byPrefix(s string) (ok, sure bool) {
	if !re.prefix.Anchored {
		return false, false
	}
	if re.prefix.Fold {
		ok = hasPrefixFold(s, re.prefix.Text)
	} else {
		ok = strings.HasPrefix(s, re.prefix.Text)
	}
	return ok, !ok || re.prefix.Complete
}

// search tries the fast way first. A pattern whose failed states can be
// remembered gets a part of the steps for it, and is then tried anew with
// the rest.
func (re *Regexp) search(m *machine, s string) (bool, error) {
	if len(s) > maxSubject {
		return false, ErrSteps
	}
	budget := re.maxSteps
	remember := re.plain != nil && states(re.plain, len(s)) <= maxFailed
	if remember {
		budget = min(budget, 2000+2*len(s))
	}
	ok, left := m.search(re.fast, s, re.anchored, false, budget)
	if left < 0 && remember && re.maxSteps > budget {
		ok, left = m.search(re.plain, s, re.anchored, true, re.maxSteps-budget)
	}
	if left < 0 {
		return false, ErrSteps
	}
	return ok, nil
}
