package regex

import (
	"slices"
	"strings"
)

// join turns runs of single bytes into one opText. Nothing may jump into
// such a run behind its start.
func (c *compiler) join() {
	insts := c.prog.insts
	target := make([]bool, len(insts)+1)
	for i := range insts {
		switch in := &insts[i]; in.op {
		case opJump:
			target[in.x] = true
		case opSplit:
			target[in.x], target[in.y] = true, true
		case opEmpty, opRefute, opRefutedTo, opElse, opIfGroup:
			target[in.y] = true
		case opCall:
			target[in.x], target[i+1] = true, true
		}
	}
	moved := make([]int32, len(insts)+1)
	out := insts[:0]
	for i := 0; i < len(insts); {
		n, text, fold := run(insts, target, i)
		for j := 0; j < max(n, 1); j++ {
			moved[i+j] = int32(len(out))
		}
		if n < 2 {
			out = append(out, insts[i])
			i++
			continue
		}
		op := opText
		if fold {
			op = opTextFold
		}
		c.prog.texts = append(c.prog.texts, text)
		out = append(out, inst{op: op, x: int32(len(c.prog.texts) - 1)})
		i += n
	}
	moved[len(insts)] = int32(len(out))
	for i := range out {
		switch in := &out[i]; in.op {
		case opJump, opCall:
			in.x = moved[in.x]
		case opSplit:
			in.x, in.y = moved[in.x], moved[in.y]
		case opEmpty, opRefute, opRefutedTo, opElse, opIfGroup:
			in.y = moved[in.y]
		}
	}
	c.prog.insts = out
}

// run returns how many instructions from i on take the bytes of one text.
// With fold the text has letters that match in both cases, and none that
// match in one alone.
func run(insts []inst, target []bool, i int) (n int, text string, fold bool) {
	var b strings.Builder
	exact := false
	for j := i; j < len(insts) && (j == i || !target[j]); j++ {
		in := &insts[j]
		switch {
		case in.op == opByte2 && !exact:
			fold = true
		case in.op == opByte && !(isLetter(in.b) && fold):
			exact = exact || isLetter(in.b)
		default:
			return n, b.String(), fold
		}
		b.WriteByte(in.b)
		n++
	}
	return n, b.String(), fold
}

// maxFollow bounds the instructions that are looked at for what may be next.
const maxFollow = 48

// tighten notes what the bytes that are next rule out.
//
// What comes behind a loop that gives back must begin with certain bytes:
// where no byte that the loop takes is among them, giving back is in vain
// and is left out. Of the two ways of a split the next byte often rules out
// one, and then no choice has to be kept.
func (c *compiler) tighten(at int32) {
	in := &c.prog.insts[at]
	switch in.op {
	case opLoop:
		set, all := c.follows(at+1, givenBack)
		if all {
			return
		}
		if set.disjoint(in.set) {
			in.op = opLoopAll
			return
		}
		in.follow = c.intern(set)
	case opSplit:
		if set, all := c.follows(in.x, byteNext); !all {
			in.set = c.intern(set)
		}
		if set, all := c.follows(in.y, byteNext); !all {
			in.follow = c.intern(set)
		}
	}
}

// where says what is known of the place that follows is asked about.
type where uint8

const (
	anywhere  where = iota
	byteNext        // it is not the end of the subject
	givenBack       // neither, and going on from the byte behind has failed
)

// follows returns a superset of the bytes of which one must be next for a
// match to go on from at; all tells that there is no such set.
func (c *compiler) follows(at int32, w where) (set *charset, all bool) {
	set = &charset{}
	var seen, cuts []int32
	todo := []int32{at}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if slices.Contains(seen, i) {
			continue
		}
		if seen = append(seen, i); len(seen) > maxFollow {
			return nil, true
		}
		in := &c.prog.insts[i]
		if c.takes(in, set) {
			if in.op >= opLoop && in.op <= opLoopAll && in.x == 0 {
				todo = append(todo, i+1)
			}
			continue
		}
		switch in.op {
		case opFail:
		case opJump:
			todo = append(todo, in.x)
		case opSplit:
			todo = append(todo, in.x, in.y)
		case opEmpty:
			todo = append(todo, i+1, in.y)
		case opSave, opClose, opEnter:
			todo = append(todo, i+1)
		case opBegin, opLineBegin, opWord, opNotWord:
			if w == givenBack {
				return nil, true // it may be this alone that has failed
			}
			todo = append(todo, i+1)
		case opCut:
			cuts = append(cuts, in.x)
			todo = append(todo, i+1)
		case opEnd, opDollar, opLineEnd:
			if w == anywhere {
				return nil, true
			}
			if in.op != opEnd {
				set.add('\n')
			}
		case opCommit:
			// So it is here for what is within the group; what is before it
			// has come by the group's opCut.
			if slices.Contains(cuts, in.x) {
				todo = append(todo, i+1)
			} else if w != givenBack {
				return nil, true
			}
		case opMatch:
			// The first way that leads here is taken and stays.
			if w != givenBack {
				return nil, true
			}
		default:
			return nil, true
		}
	}
	return set, false
}

// takes adds the bytes that the instruction may take first; it returns false
// for one that takes none.
func (c *compiler) takes(in *inst, set *charset) bool {
	switch in.op {
	case opByte:
		set.add(in.b)
	case opByte2:
		set.add(in.b)
		set.add(in.c)
	case opSet, opLoop, opLoopLazy, opLoopAll:
		set.addSet(in.set)
	case opText, opTextFold:
		var b charset
		b.add(c.prog.texts[in.x][0])
		if in.op == opTextFold {
			b.fold()
		}
		set.addSet(&b)
	default:
		return false
	}
	return true
}
