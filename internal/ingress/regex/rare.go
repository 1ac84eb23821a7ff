package regex

import "math"

// rare runs the instructions that few patterns have. It returns the place to
// go on at; pc has been advanced already.
func (m *machine) rare(p *program, in *inst, s string, pos int, pc int32, steps int) (int, int32, int, bool) {
	switch in.op {
	case opFail:
		return pos, pc, steps, false
	case opLoopLazy:
		least := *in
		least.y = in.x
		end := m.stretch(&least, s, pos)
		if end-pos < int(in.x) {
			return pos, pc, steps, false
		}
		more := int32(math.MaxInt32)
		if in.y >= 0 {
			more = in.y - in.x
		}
		if more > 0 {
			m.stack = append(m.stack, frame{kind: frameMore, pc: pc - 1, pos: int32(end), x: more})
		}
		return end, pc, steps - (end-pos)>>3, true
	case opClose:
		m.set(in.x, m.slots[in.z])
		m.set(in.x+1, int32(pos))
	case opEnter:
		m.set(in.x, int32(pos))
	case opEmpty:
		if int(m.slots[in.x]) == pos {
			pc = in.y
		}
	case opLineBegin:
		return pos, pc, steps, pos == 0 || s[pos-1] == '\n' && pos < len(s)
	case opLineEnd:
		return pos, pc, steps, pos == len(s) || s[pos] == '\n'
	case opWord, opNotWord:
		before, after := pos > 0 && isWord(s[pos-1]), pos < len(s) && isWord(s[pos])
		return pos, pc, steps, (before != after) == (in.op == opWord)
	case opReference, opRefFold:
		end, ok := m.reference(in, s, pos)
		return end, pc, steps - (end-pos)>>3, ok
	case opIfGroup:
		if m.slots[2*in.x+1] < 0 {
			pc = in.y
		}
	case opCall:
		if len(m.saved)+len(m.slots) > maxSaved {
			return pos, pc, -1, true
		}
		m.call(p, in.x, pc)
		return pos, in.x, steps - len(m.slots)>>3, true
	case opReturn:
		return pos, m.leave(p), steps - len(m.slots)>>3, true
	default:
		return m.guard(in, pos, pc, steps)
	}
	return pos, pc, steps, true
}

// guard runs the instructions of atomic groups and look-arounds.
func (m *machine) guard(in *inst, pos int, pc int32, steps int) (int, int32, int, bool) {
	switch in.op {
	case opCut, opRefute:
		height := int32(len(m.stack))
		m.set(in.x, height)
		m.set(in.x+1, int32(pos))
		if in.op == opRefute {
			m.stack = append(m.stack, frame{kind: frameChoice, pc: in.y, pos: int32(pos)})
		}
	case opElse:
		m.stack = append(m.stack, frame{kind: frameChoice, pc: in.y, pos: int32(pos)})
	case opCommit:
		steps -= m.commit(int(m.slots[in.x]))
	case opLooked:
		pos = int(m.slots[in.x+1])
		steps -= m.commit(int(m.slots[in.x]))
	case opRefuted:
		steps -= m.unwind(int(m.slots[in.x]))
		return pos, pc, steps, false
	case opRefutedTo:
		pos = int(m.slots[in.x+1])
		steps -= m.unwind(int(m.slots[in.x]))
		pc = in.y
	case opBack:
		if pos < int(in.x) {
			return pos, pc, steps, false
		}
		pos -= int(in.x)
		if in.y > in.x {
			m.stack = append(m.stack, frame{kind: frameBack, pc: pc, pos: int32(pos), x: in.y - in.x})
		}
	case opBehind:
		return pos, pc, steps, pos == int(m.slots[in.x])
	}
	return pos, pc, steps, true
}

// commit drops the choices above height but keeps what is to be undone when
// the match goes back beyond it. It returns its cost in steps.
func (m *machine) commit(height int) int {
	kept := height
	for i := height; i < len(m.stack); i++ {
		if m.stack[i].kind == frameUndo {
			m.stack[kept] = m.stack[i]
			kept++
		}
	}
	cost := (len(m.stack) - height) >> 2
	m.stack = m.stack[:kept]
	return cost
}

// unwind drops the choices above height and undoes what was done since.
func (m *machine) unwind(height int) int {
	cost := (len(m.stack) - height) >> 2
	for i := len(m.stack) - 1; i >= height; i-- {
		if f := &m.stack[i]; f.kind == frameUndo {
			m.slots[f.pc] = f.pos
		}
	}
	m.stack = m.stack[:height]
	return cost
}

// reference compares what is next with what a capture took. A capture that
// is not set matches nothing, as in PCRE.
func (m *machine) reference(in *inst, s string, pos int) (int, bool) {
	from, to := m.slots[2*in.x], m.slots[2*in.x+1]
	if from < 0 || to < 0 {
		return pos, false
	}
	n := int(to - from)
	if len(s)-pos < n {
		return pos, false
	}
	if in.op == opReference {
		return pos + n, s[from:to] == s[pos:pos+n]
	}
	for i := 0; i < n; i++ {
		if lower(s[int(from)+i]) != lower(s[pos+i]) {
			return pos + n, false
		}
	}
	return pos + n, true
}

// call enters a subroutine and keeps all slots for its end.
func (m *machine) call(p *program, entry, back int32) {
	m.calls = append(m.calls, call{back: back, parent: m.slots[p.call], base: int32(len(m.saved))})
	m.saved = append(m.saved, m.slots...)
	m.set(p.call, int32(len(m.calls)-1))
}

// leave ends the running subroutine: slots are again what they were, but for
// the start of the match, which \K may have moved.
func (m *machine) leave(p *program) int32 {
	c := m.calls[m.slots[p.call]]
	for i, v := range m.saved[c.base : int(c.base)+len(m.slots)] {
		if i > 0 && m.slots[i] != v {
			m.set(int32(i), v)
		}
	}
	return c.back
}
