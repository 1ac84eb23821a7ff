package regex

// opcode says what an instruction does. Instructions fall through to the
// next one unless their comment says otherwise.
type opcode uint8

const (
	opMatch     opcode = iota // the pattern has matched
	opFail                    // go back
	opByte                    // take the byte b
	opByte2                   // take b or c
	opSet                     // take a byte of set
	opText                    // take texts[x]
	opTextFold                // take texts[x], which is lower-case, in any case
	opJump                    // go to x
	opSplit                   // try x, then y; z is its number for failed states, or -1
	opLoop                    // take x to y bytes of set, as many as possible, giving back; b: set is all but c
	opLoopLazy                // take x to y bytes of set, as few as possible
	opLoopAll                 // take x to y bytes of set, giving nothing back
	opSave                    // slot x = position
	opClose                   // slot x = slot z, slot x+1 = position
	opEnter                   // slot x = position, at the start of an iteration that may be empty
	opEmpty                   // go to y if slot x is the position: the iteration took nothing
	opBegin                   // at the start of the subject
	opEnd                     // at its end
	opDollar                  // at its end, or before the newline that ends it
	opLineBegin               // at the start of a line
	opLineEnd                 // at the end of a line
	opWord                    // at a word boundary
	opNotWord                 // not at a word boundary
	opCut                     // slot x = height of the stack, slot x+1 = position
	opCommit                  // drop the choices since opCut of slot x
	opLooked                  // opCommit, then go back to the position of slot x+1
	opRefute                  // slots as opCut, and a choice of going to y
	opRefuted                 // undo all since opRefute of slot x, then go back
	opRefutedTo               // the same, then go to y at the position of slot x+1
	opElse                    // a choice of going to y
	opBack                    // go back x bytes, then up to y
	opBehind                  // at the position of slot x
	opReference               // take what capture x took
	opRefFold                 // the same in any case
	opIfGroup                 // go to y unless capture x is set
	opCall                    // run from x up to opReturn, then go on
	opReturn                  // go on behind the opCall, with its captures as they were
)

// inst is one instruction.
type inst struct {
	op      opcode
	b, c    byte
	x, y, z int32
	set     *charset
	follow  *charset // opLoop: bytes of which one must follow, or nil; opSplit: set is that for x, and follow for y
}

// program is a compiled pattern.
type program struct {
	insts  []inst
	texts  []string
	slots  int   // captures, then registers
	call   int32 // the register of the running opCall
	first  *charset
	splits int // opSplits that failed states are remembered for
	// loops are the registers of opEnter; inside[i] tells which of them the
	// split of the number i is within, a bit for each.
	loops  []int32
	inside []uint8
}
