package regex

import "strings"

const (
	// maxStack bounds the choices and undone values that a match may keep,
	// maxSaved the values that its calls may keep.
	maxStack = 1 << 17
	maxSaved = 1 << 17
	// maxFailed bounds the table of failed states, in bits.
	maxFailed = 1 << 21
	// keepStack is the largest stack that is kept for the next match.
	keepStack = 1 << 14
)

type frameKind uint8

const (
	frameChoice frameKind = iota // go to pc at pos
	frameUndo                    // slot pc was pos
	frameGive                    // the loop pc has gone to x, and may give back to pos
	frameMore                    // the lazy loop pc is at pos, and may take x more
	frameBack                    // the look-behind's body pc began at pos, and may begin up to x before
)

// frame is what is to be tried, or undone, when the match goes back.
type frame struct {
	kind       frameKind
	pc, pos, x int32
}

// call is a running opCall.
type call struct {
	back   int32 // where it goes on
	parent int32
	base   int32 // its saved slots begin here
}

// machine runs programs. It keeps its memory for the next match.
type machine struct {
	stack []frame
	slots []int32
	// unnoted tells that slots were set without a note for going back.
	unnoted bool
	failed  []uint64
	calls   []call
	saved   []int32
}

// search looks for the leftmost match within steps, and returns the steps
// that are left; below 0 they were not enough. The slots then hold the match.
func (m *machine) search(p *program, s string, anchored, remember bool, steps int) (bool, int) {
	m.reset(p, len(s), remember)
	last := len(s)
	if anchored {
		last = 0
	}
	for start := 0; start <= last && steps >= 0; start++ {
		if p.first != nil {
			skipped := start
			for start <= last && start < len(s) && !p.first.has(s[start]) {
				start++
			}
			if start > last || start == len(s) {
				return false, steps
			}
			steps -= (start - skipped) >> 3
		}
		if m.unnoted {
			m.clearSlots()
			steps -= len(m.slots) >> 4
		}
		m.slots[0] = int32(start)
		var ok bool
		if ok, steps = m.run(p, s, start, remember, steps); ok || steps < 0 {
			return ok, steps
		}
		steps--
	}
	return false, steps
}

func (m *machine) reset(p *program, length int, remember bool) {
	if cap(m.slots) < p.slots {
		m.slots = make([]int32, p.slots)
	}
	m.slots = m.slots[:p.slots]
	m.clearSlots()
	m.stack, m.calls, m.saved = m.stack[:0], m.calls[:0], m.saved[:0]
	if remember {
		words := (states(p, length) + 63) / 64
		if cap(m.failed) < words {
			m.failed = make([]uint64, words)
		}
		m.failed = m.failed[:words]
		clear(m.failed)
	}
}

func (m *machine) clearSlots() {
	for i := range m.slots {
		m.slots[i] = -1
	}
	m.unnoted = false
}

// states is the number of states that may fail in a subject of this length.
func states(p *program, length int) int { return p.splits << len(p.loops) * (length + 1) }

// release cuts the machine down to what is worth keeping.
func (m *machine) release() {
	if cap(m.stack) > keepStack {
		m.stack = nil
	}
	if cap(m.saved) > keepStack {
		m.saved, m.calls = nil, nil
	}
}

// set changes a slot and notes its value for going back. Without a choice to
// go back to the attempt is over then, and search starts anew.
func (m *machine) set(slot, value int32) {
	if len(m.stack) == 0 {
		m.slots[slot] = value
		m.unnoted = true
		return
	}
	m.stack = append(m.stack, frame{kind: frameUndo, pc: slot, pos: m.slots[slot]})
	m.slots[slot] = value
}

// knownToFail tells whether the split in has been tried at pos before, and
// notes that it is now. It was in vain then, or the match would be over.
func (m *machine) knownToFail(p *program, in *inst, pos, length int) bool {
	state := int(in.z)
	inside := p.inside[in.z]
	for i, r := range p.loops {
		// What comes depends on whether the iteration has taken something.
		state <<= 1
		if inside>>i&1 != 0 && int(m.slots[r]) == pos {
			state |= 1
		}
	}
	state = state*(length+1) + pos
	word, bit := state>>6, uint64(1)<<(state&63)
	if m.failed[word]&bit != 0 {
		return true
	}
	m.failed[word] |= bit
	return false
}

// run matches from pos on. It is one loop on purpose: calls per instruction
// would cost more than the instructions.
func (m *machine) run(p *program, s string, pos int, remember bool, steps int) (bool, int) {
	pc := int32(0)
	for {
		steps--
		if steps < 0 || len(m.stack) > maxStack {
			return false, -1
		}
		in := &p.insts[pc]
		pc++
		ok := true
		switch in.op {
		case opMatch:
			m.slots[1] = int32(pos)
			return true, steps
		case opByte:
			if ok = pos < len(s) && s[pos] == in.b; ok {
				pos++
			}
		case opByte2:
			if ok = pos < len(s) && (s[pos] == in.b || s[pos] == in.c); ok {
				pos++
			}
		case opSet:
			if ok = pos < len(s) && in.set.has(s[pos]); ok {
				pos++
			}
		case opText:
			t := p.texts[in.x]
			if ok = strings.HasPrefix(s[pos:], t); ok {
				pos += len(t)
			}
		case opTextFold:
			t := p.texts[in.x]
			n := commonFold(s[pos:], t)
			steps -= n >> 3
			if ok = n == len(t); ok {
				pos += n
			}
		case opJump:
			pc = in.x
		case opSplit:
			if remember && in.z >= 0 && m.knownToFail(p, in, pos, len(s)) {
				ok = false
				break
			}
			if pos < len(s) {
				if in.set != nil && !in.set.has(s[pos]) {
					pc = in.y
					break
				}
				if in.follow != nil && !in.follow.has(s[pos]) {
					pc = in.x
					break
				}
			}
			m.stack = append(m.stack, frame{kind: frameChoice, pc: in.y, pos: int32(pos)})
			pc = in.x
		case opLoop, opLoopAll:
			end := m.stretch(in, s, pos)
			if in.b == 0 {
				steps -= (end - pos) >> 3
			} else { // found by a search that is much faster
				steps -= (end - pos) >> 6
			}
			if ok = end-pos >= int(in.x); ok {
				if least := pos + int(in.x); in.op == opLoop && end > least {
					m.stack = append(m.stack, frame{kind: frameGive, pc: pc - 1, pos: int32(least), x: int32(end)})
				}
				pos = end
			}
		case opSave:
			m.set(in.x, int32(pos))
		case opBegin:
			ok = pos == 0
		case opEnd:
			ok = pos == len(s)
		case opDollar:
			ok = pos == len(s) || pos == len(s)-1 && s[pos] == '\n'
		default:
			pos, pc, steps, ok = m.rare(p, in, s, pos, pc, steps)
		}
		if !ok {
			if pos, pc, steps = m.back(p, s, steps); pc < 0 {
				return false, steps
			}
		}
	}
}

// stretch returns how far the loop in can go from pos on.
func (m *machine) stretch(in *inst, s string, pos int) int {
	limit := len(s)
	if in.y >= 0 && limit-pos > int(in.y) {
		limit = pos + int(in.y)
	}
	if in.b != 0 { // set is all bytes but one
		if n := strings.IndexByte(s[pos:limit], in.c); n >= 0 {
			return pos + n
		}
		return limit
	}
	for pos < limit && in.set.has(s[pos]) {
		pos++
	}
	return pos
}

// back undoes and goes to the newest choice; pc is -1 if there is none.
func (m *machine) back(p *program, s string, steps int) (pos int, pc int32, left int) {
	for len(m.stack) > 0 {
		top := len(m.stack) - 1
		f := &m.stack[top]
		switch f.kind {
		case frameUndo:
			m.slots[f.pc] = f.pos
			m.stack = m.stack[:top]
		case frameChoice:
			m.stack = m.stack[:top]
			return int(f.pos), f.pc, steps
		case frameGive:
			before := f.x
			f.x--
			if follow := p.insts[f.pc].follow; follow != nil {
				for f.x > f.pos && !follow.has(s[f.x]) {
					f.x--
				}
				steps -= int(before-f.x) >> 3
				if f.x == f.pos && !follow.has(s[f.x]) {
					m.stack = m.stack[:top]
					continue
				}
			}
			pos, pc = int(f.x), f.pc+1
			if f.x == f.pos {
				m.stack = m.stack[:top]
			}
			return pos, pc, steps
		case frameMore:
			if int(f.pos) >= len(s) || !p.insts[f.pc].set.has(s[f.pos]) {
				m.stack = m.stack[:top]
				continue
			}
			f.pos++
			f.x--
			pos, pc = int(f.pos), f.pc+1
			if f.x == 0 {
				m.stack = m.stack[:top]
			}
			return pos, pc, steps
		case frameBack:
			if f.x == 0 || f.pos == 0 {
				m.stack = m.stack[:top]
				continue
			}
			f.pos--
			f.x--
			return int(f.pos), f.pc, steps
		}
	}
	return 0, -1, steps
}

// commonFold returns how many bytes s and the lower-case text have in common
// at their start, without regard to case.
func commonFold(s, text string) int {
	n := min(len(s), len(text))
	for i := 0; i < n; i++ {
		if s[i] != text[i] && lower(s[i]) != text[i] {
			return i
		}
	}
	return n
}

func hasPrefixFold(s, prefix string) bool { return commonFold(s, prefix) == len(prefix) }
