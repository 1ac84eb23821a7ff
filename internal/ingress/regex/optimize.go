package regex

import "strings"

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

// tighten finds what must come behind a loop that gives back. Where no byte
// that the loop takes can, giving back is in vain and is left out.
func (c *compiler) tighten(at int32) {
	in := &c.prog.insts[at]
	if in.op != opLoop {
		return
	}
	set, all := c.follows(at+1, true)
	if all {
		return
	}
	if set.disjoint(in.set) {
		in.op = opLoopAll
		return
	}
	in.follow = c.intern(set)
}

// follows returns a superset of the bytes of which one must be next for a
// match to go on from at; all tells that there is no such set. With back set
// it is asked for places that a loop gives back: another byte is sure to
// follow there, and going on without one has been tried before.
func (c *compiler) follows(at int32, back bool) (set *charset, all bool) {
	set = &charset{}
	seen, cuts := map[int32]bool{}, map[int32]bool{}
	todo := []int32{at}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[i] {
			continue
		}
		seen[i] = true
		if len(seen) > 64 {
			return nil, true
		}
		in := &c.prog.insts[i]
		switch in.op {
		case opFail:
		case opByte:
			set.add(in.b)
		case opByte2:
			set.add(in.b)
			set.add(in.c)
		case opSet:
			set.addSet(in.set)
		case opText, opTextFold:
			var b charset
			b.add(c.prog.texts[in.x][0])
			if in.op == opTextFold {
				b.fold()
			}
			set.addSet(&b)
		case opLoop, opLoopLazy, opLoopAll:
			set.addSet(in.set)
			if in.x == 0 {
				todo = append(todo, i+1)
			}
		case opJump:
			todo = append(todo, in.x)
		case opSplit:
			todo = append(todo, in.x, in.y)
		case opEmpty:
			todo = append(todo, i+1, in.y)
		case opSave, opClose, opEnter:
			todo = append(todo, i+1)
		case opBegin, opLineBegin, opWord, opNotWord:
			if back {
				return nil, true // going on may have failed here alone
			}
			todo = append(todo, i+1)
		case opCut:
			cuts[in.x] = true
			todo = append(todo, i+1)
		case opEnd, opDollar, opLineEnd:
			if !back {
				return nil, true
			}
			if in.op != opEnd {
				set.add('\n')
			}
		case opMatch:
			// The first way that leads here is taken and stays.
			if !back {
				return nil, true
			}
		case opCommit:
			// So it is here for what is within the group; what is before it
			// has come by the group's opCut.
			if cuts[in.x] {
				todo = append(todo, i+1)
			} else if !back {
				return nil, true
			}
		default:
			return nil, true
		}
	}
	return set, false
}
