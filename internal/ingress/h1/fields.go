package h1

import "math"

// status of parseFields.
type status uint8

const (
	stDone status = iota // the empty line was read
	stMore               // a line is not whole yet
	stFail
)

// parseFields parses the field lines of data from off on, up to and with the empty
// line, and appends them. It returns where it stopped: behind the empty line, or at
// the beginning of the line that is not whole. Offsets are those of data, which the
// caller makes h.text in the end.
//
// Refused are, by RFC 9112, 2.2 and 5, and RFC 9110, 5.5 and 5.6.2: bare CR and LF,
// control bytes, folded lines, lines without a colon, empty names, space before the
// colon and names that are no token. nginx drops names that are no token where it
// ignores invalid fields; refusing them leaves nothing to guess.
func (h *Header) parseFields(data []byte, off int, lim *Limits, count *int) (int, status, Reason) {
	for {
		if off >= len(data) {
			return off, stMore, 0
		}
		if data[off] == '\r' {
			switch {
			case off+1 == len(data):
				return off, stMore, 0
			case data[off+1] != '\n':
				return off, stFail, ReasonBareCR
			}
			return off + 2, stDone, 0
		}
		p := off
		for p < len(data) && nameClass[data[p]] == bytePlain {
			p++
		}
		keep := true
		if p < len(data) && data[p] != ':' {
			var r Reason
			if p, keep, r = oddName(data, off, p, lim); r != 0 {
				return off, stFail, r
			}
		}
		if p == len(data) {
			return off, stMore, 0
		}
		if p == off || p-off > math.MaxUint16 {
			return off, stFail, ReasonFieldName
		}
		next, st, r := h.parseValue(data, off, p, lim, keep)
		if st != stDone {
			return off, st, r
		}
		if *count++; *count > lim.MaxFields {
			return off, stFail, ReasonTooManyFields
		}
		off = next
	}
}

// parseValue parses what follows the colon at data[colon] and appends the field.
func (h *Header) parseValue(data []byte, off, colon int, lim *Limits, keep bool) (int, status, Reason) {
	v := colon + 1
	for v < len(data) && (data[v] == ' ' || data[v] == '\t') {
		v++
	}
	end := scanValue(data, v)
	if end+1 >= len(data) {
		if end < len(data) && data[end] != '\r' {
			return off, stFail, badByte(data[end])
		}
		return off, stMore, 0
	}
	if data[end] != '\r' {
		return off, stFail, badByte(data[end])
	}
	if data[end+1] != '\n' {
		return off, stFail, ReasonBareCR
	}
	if end+2-off > lim.MaxLine {
		return off, stFail, ReasonFieldTooLong
	}
	if !keep {
		return end + 2, stDone, 0
	}
	f := field{name: uint32(off), nameLen: uint16(colon - off), value: uint32(v), flags: wholeLine}
	last := end
	for last > v && (data[last-1] == ' ' || data[last-1] == '\t') {
		last--
	}
	if last != end || v != colon+2 || data[colon+1] != ' ' {
		f.flags = 0
	}
	f.valueLen = uint32(last - v)
	f.id = lookup(data[off:colon])
	h.append(f)
	return end + 2, stDone, 0
}

// oddName finishes a name with other bytes than letters, digits and hyphens, of
// which data[p] is the first. It tells whether the field is kept.
func oddName(data []byte, off, p int, lim *Limits) (end int, keep bool, r Reason) {
	keep = true
	for ; p < len(data) && data[p] != ':'; p++ {
		switch nameClass[data[p]] {
		case byteInvalid:
			return p, false, badName(data, off, p)
		case byteUnderscore:
			keep = keep && (lim.PassUnderscores || lim.PassInvalid)
		case byteOdd:
			keep = keep && lim.PassInvalid
		}
	}
	return p, keep, 0
}

// badName names what is wrong with data[p] in a field's name.
func badName(data []byte, off, p int) Reason {
	switch c := data[p]; {
	case p == off && (c == ' ' || c == '\t'):
		return ReasonFolded
	case c == '\n':
		return ReasonBareLF
	case c == '\r':
		if p+1 < len(data) && data[p+1] != '\n' {
			return ReasonBareCR
		}
	}
	return ReasonFieldName
}

// badByte names what is wrong with a byte that ended a value.
func badByte(c byte) Reason {
	if c == '\n' {
		return ReasonBareLF
	}
	return ReasonControlByte
}

// readFields reads the fields of a section that begins with the unread bytes, from
// off of them on, and returns its length, the empty line included. Nothing is
// consumed.
func (r *Reader) readFields(h *Header, off, maxAll int, lim *Limits) (int, Reason, error) {
	count := 0
	for {
		next, st, reason := h.parseFields(r.buf[r.r:r.w], off, lim, &count)
		switch {
		case st == stFail:
			return 0, reason, nil
		case next > maxAll:
			return 0, ReasonHeadTooLarge, nil
		case st == stDone:
			h.text = r.buf[r.r : r.r+next]
			return next, 0, nil
		}
		off = next
		if reason, err := r.moreLine(off, lim.MaxLine, maxAll); reason != 0 || err != nil {
			return 0, reason, err
		}
	}
}
