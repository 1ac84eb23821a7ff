package regex

const (
	// maxProgram bounds the instructions of a pattern, counted repetitions
	// of groups being written out.
	maxProgram = 8192
	// maxVisits bounds the work of writing them out.
	maxVisits = 16 * maxProgram
	// maxEmptyLoops is how many loops with possibly empty iterations a
	// pattern may have for its failed states to be remembered.
	maxEmptyLoops = 4
)

// compiler turns nodes into a program.
type compiler struct {
	p        *parser
	prog     *program
	sets     map[charset]*charset
	starts   int32 // first register for starts of open captures, or -1
	plain    bool  // write loops of single bytes out, and number the splits
	opaque   int   // depth within groups whose states are not remembered
	within   uint8 // empty loops around
	entries  map[int]int32
	calls    []callSite
	visits   int
	tooLarge bool
}

type callSite struct {
	at    int32
	group int
}

// compile returns the program of a parsed pattern; with plain set the one
// whose failed states can be remembered. It returns nil if that is too large.
func compile(p *parser, root *node, plain bool) *program {
	c := &compiler{p: p, prog: &program{}, sets: map[charset]*charset{}, starts: -1, plain: plain, entries: map[int]int32{}}
	c.prog.slots = 2 * (p.highest + 1)
	if p.backtracks || p.recurses {
		c.starts = c.register(p.highest + 1)
	}
	if p.recurses {
		c.prog.call = c.register(1)
	}
	c.node(root)
	c.emit(inst{op: opMatch})
	c.subroutines(root)
	if c.tooLarge {
		return nil
	}
	c.join()
	for i := range c.prog.insts {
		c.tighten(int32(i))
	}
	if set, all := c.follows(0, anywhere); !all {
		c.prog.first = set
	}
	return c.prog
}

// subroutines writes the groups that are called, each ending in opReturn.
func (c *compiler) subroutines(root *node) {
	for i := 0; i < len(c.calls) && !c.tooLarge; i++ {
		site := c.calls[i]
		entry, ok := c.entries[site.group]
		if !ok {
			entry = c.here()
			c.entries[site.group] = entry
			body := root
			if site.group > 0 {
				body = c.p.bodies[site.group]
			}
			c.node(body)
			c.emit(inst{op: opReturn})
		}
		c.prog.insts[site.at].x = entry
	}
}

func (c *compiler) here() int32 { return int32(len(c.prog.insts)) }

func (c *compiler) register(n int) int32 {
	r := int32(c.prog.slots)
	c.prog.slots += n
	return r
}

// emit adds an instruction and returns its place. Beyond the bound it only
// notes that the program is too large.
func (c *compiler) emit(i inst) int32 {
	if len(c.prog.insts) >= maxProgram {
		c.tooLarge = true
		c.prog.insts = c.prog.insts[:maxProgram-1]
	}
	c.prog.insts = append(c.prog.insts, i)
	return c.here() - 1
}

// split adds an opSplit whose targets are filled in by aim.
func (c *compiler) split() int32 {
	i := inst{op: opSplit, z: -1}
	if c.plain && c.opaque == 0 {
		i.z = int32(c.prog.splits)
		c.prog.splits++
		c.prog.inside = append(c.prog.inside, c.within)
	}
	return c.emit(i)
}

// aim sets where the split at goes: into the body or out of it, first the
// body unless lazy.
func (c *compiler) aim(at, body, out int32, m mode) {
	i := &c.prog.insts[at]
	i.x, i.y = body, out
	if m == lazy {
		i.x, i.y = out, body
	}
}

func (c *compiler) intern(s *charset) *charset {
	if known := c.sets[*s]; known != nil {
		return known
	}
	own := *s
	c.sets[own] = &own
	return &own
}

func (c *compiler) node(n *node) {
	// Repetitions of what takes no instruction have to end too.
	if c.visits++; c.visits > maxVisits {
		c.tooLarge = true
	}
	if c.tooLarge {
		return
	}
	switch n.kind {
	case kEmpty:
	case kFail:
		c.emit(inst{op: opFail})
	case kByte:
		c.byte(n)
	case kSet:
		c.emit(inst{op: opSet, set: c.intern(n.set)})
	case kBegin, kEnd, kDollar, kLineBegin, kLineEnd, kWord, kNotWord:
		c.emit(inst{op: opBegin + opcode(n.kind-kBegin)})
	case kKeep:
		c.emit(inst{op: opSave, x: 0})
	case kConcat:
		for _, s := range n.subs {
			c.node(s)
		}
	case kAlternate:
		c.alternate(n)
	case kGroup:
		c.group(n)
	case kRepeat:
		c.repeat(n)
	case kAtomic:
		r := c.register(2)
		c.emit(inst{op: opCut, x: r})
		c.hidden(n.subs[0])
		c.emit(inst{op: opCommit, x: r})
	case kLook:
		c.look(n)
	case kReference:
		op := opReference
		if n.fold {
			op = opRefFold
		}
		c.emit(inst{op: op, x: int32(n.n)})
	case kCall:
		c.calls = append(c.calls, callSite{at: c.emit(inst{op: opCall}), group: n.n})
	case kCondition:
		c.condition(n)
	}
}

func (c *compiler) byte(n *node) {
	if !n.fold {
		c.emit(inst{op: opByte, b: n.b})
		return
	}
	c.emit(inst{op: opByte2, b: lower(n.b), c: lower(n.b) - 'a' + 'A'})
}

// hidden writes the body of a group whose inner choices are dropped later.
// That a state in it failed once does not mean that it fails again, since
// what failed may be what came behind the group.
func (c *compiler) hidden(n *node) {
	within := c.within
	c.opaque, c.within = c.opaque+1, 0
	c.node(n)
	c.opaque, c.within = c.opaque-1, within
}

func (c *compiler) alternate(n *node) {
	var ends []int32
	for i, s := range n.subs {
		if i == len(n.subs)-1 {
			c.node(s)
			break
		}
		at := c.split()
		c.node(s)
		ends = append(ends, c.emit(inst{op: opJump}))
		c.aim(at, at+1, c.here(), greedy)
	}
	for _, e := range ends {
		c.prog.insts[e].x = c.here()
	}
}

func (c *compiler) group(n *node) {
	slot := int32(2 * n.n)
	if c.starts < 0 {
		c.emit(inst{op: opSave, x: slot})
		c.node(n.subs[0])
		c.emit(inst{op: opSave, x: slot + 1})
		return
	}
	// A reference within the group is to what it took the time before, so
	// that the capture changes only when the group closes.
	start := c.starts + int32(n.n)
	c.emit(inst{op: opSave, x: start})
	c.node(n.subs[0])
	c.emit(inst{op: opClose, x: slot, z: start})
}

func (c *compiler) repeat(n *node) {
	body := n.subs[0]
	if n.max == 0 {
		return
	}
	if set, ok := body.single(); ok && (!c.plain || n.mode == possessive) {
		loop := inst{op: opLoop + opcode(n.mode), x: int32(n.min), y: int32(n.max), set: c.intern(set)}
		if rest := inverse(*set); rest.len() == 1 {
			loop.b, loop.c = 1, rest.lowest()
		}
		c.emit(loop)
		return
	}
	if n.mode == possessive {
		r := c.register(2)
		c.emit(inst{op: opCut, x: r})
		within := c.within
		c.opaque, c.within = c.opaque+1, 0
		c.copies(n, body)
		c.opaque, c.within = c.opaque-1, within
		c.emit(inst{op: opCommit, x: r})
		return
	}
	c.copies(n, body)
}

// copies writes a repetition out: the body as often as it must come, then a
// loop or nested optional copies.
func (c *compiler) copies(n *node, body *node) {
	must := n.min
	if n.max == unbounded && must > 0 {
		must-- // the loop is the last copy
	}
	for i := 0; i < must && !c.tooLarge; i++ {
		c.node(body)
	}
	if n.max == unbounded {
		c.loop(body, n.mode, n.min == 0)
		return
	}
	var splits []int32
	for i := n.min; i < n.max && !c.tooLarge; i++ {
		splits = append(splits, c.split())
		c.node(body)
	}
	for _, at := range splits {
		c.aim(at, at+1, c.here(), n.mode)
	}
}

// loop writes body one or more times, or with optional set any number of
// times. An iteration that took nothing is the last one, as in PCRE.
func (c *compiler) loop(body *node, m mode, optional bool) {
	skip := int32(-1)
	if optional {
		skip = c.split()
	}
	start, within := c.here(), c.within
	least, _ := body.width()
	empty := int32(-1)
	if least == 0 {
		r := c.register(1)
		if c.opaque == 0 {
			if len(c.prog.loops) < maxEmptyLoops {
				c.within |= 1 << len(c.prog.loops)
			}
			c.prog.loops = append(c.prog.loops, r)
		}
		c.emit(inst{op: opEnter, x: r})
		c.node(body)
		empty = c.emit(inst{op: opEmpty, x: r})
	} else {
		c.node(body)
	}
	c.within = within
	again := c.split()
	c.aim(again, start, c.here(), m)
	if empty >= 0 {
		c.prog.insts[empty].y = c.here()
	}
	if optional {
		c.aim(skip, start, c.here(), m)
	}
}

func (c *compiler) look(n *node) {
	r := c.register(2)
	at := int32(-1)
	if n.not {
		at = c.emit(inst{op: opRefute, x: r})
	} else {
		c.emit(inst{op: opCut, x: r})
	}
	c.looked(n, r)
	if n.not {
		c.emit(inst{op: opRefuted, x: r})
		c.prog.insts[at].y = c.here()
		return
	}
	c.emit(inst{op: opLooked, x: r})
}

// looked writes the body of a look-around whose registers begin at r.
func (c *compiler) looked(n *node, r int32) {
	if !n.behind {
		c.hidden(n.subs[0])
		return
	}
	least, most := n.subs[0].width()
	c.emit(inst{op: opBack, x: int32(least), y: int32(most)})
	c.hidden(n.subs[0])
	if least != most {
		c.emit(inst{op: opBehind, x: r + 1})
	}
}

func (c *compiler) condition(n *node) {
	var toElse int32
	if len(n.subs) == 2 {
		toElse = c.emit(inst{op: opIfGroup, x: int32(n.n)})
	} else if look := n.subs[2]; look.kind == kFail {
		return // (?(DEFINE)…) only has groups to call
	} else {
		r := c.register(2)
		if look.not {
			// The body failing goes to the first branch.
			refute := c.emit(inst{op: opRefute, x: r})
			c.looked(look, r)
			toElse = c.emit(inst{op: opRefutedTo, x: r})
			c.prog.insts[refute].y = c.here()
		} else {
			c.emit(inst{op: opCut, x: r})
			toElse = c.emit(inst{op: opElse})
			c.looked(look, r)
			c.emit(inst{op: opLooked, x: r})
		}
	}
	c.node(n.subs[0])
	end := c.emit(inst{op: opJump})
	c.prog.insts[toElse].y = c.here()
	c.node(n.subs[1])
	c.prog.insts[end].x = c.here()
}
