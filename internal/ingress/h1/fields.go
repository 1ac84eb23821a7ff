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
	fields, present, twice, n := h.fields, h.present, h.twice, *count
	st, reason := stMore, Reason(0)
	for off < len(data) {
		p := off
		for p < len(data) && nameClass[data[p]] == bytePlain {
			p++
		}
		keep := true
		if p < len(data) && data[p] != ':' {
			if p == off && data[p] == '\r' {
				if st, reason = emptyLine(data, off); st == stDone {
					off += 2
				}
				break
			}
			if p, keep, reason = oddName(data, off, p, lim); reason != 0 {
				st = stFail
				break
			}
		}
		if p == len(data) {
			break
		}
		if p == off || p-off > math.MaxUint16 {
			st, reason = stFail, ReasonFieldName
			break
		}
		v := p + 1
		for v < len(data) && (data[v] == ' ' || data[v] == '\t') {
			v++
		}
		end := scanValue(data, v)
		if end+1 >= len(data) || data[end] != '\r' || data[end+1] != '\n' {
			st, reason = lineEnd(data, end)
			break
		}
		if n++; n > lim.MaxFields {
			st, reason = stFail, ReasonTooManyFields
			break
		}
		if end+2-off > lim.MaxLine {
			st, reason = stFail, ReasonFieldTooLong
			break
		}
		if keep {
			id := lookup(data[off:p])
			fields = append(fields, field{name: uint32(off), value: uint32(v), nameLen: uint16(p - off), id: id})
			f := &fields[len(fields)-1]
			f.setValue(data, end)
			twice |= present & bit(id)
			present |= bit(id)
		}
		off = end + 2
	}
	h.fields, h.present, h.twice, *count = fields, present, twice, n
	return off, st, reason
}

// setValue makes the value end where the line does, white space cut off.
func (f *field) setValue(data []byte, end int) {
	v := int(f.value)
	if c := data[end-1]; c != ' ' && c != '\t' && v == int(f.name)+int(f.nameLen)+2 && data[v-1] == ' ' {
		f.flags = wholeLine
	} else {
		for end > v && (data[end-1] == ' ' || data[end-1] == '\t') {
			end--
		}
	}
	f.valueLen = uint32(end - v)
}

// emptyLine tells whether the CR at data[off] is that of the empty line.
func emptyLine(data []byte, off int) (status, Reason) {
	switch {
	case off+1 == len(data):
		return stMore, 0
	case data[off+1] != '\n':
		return stFail, ReasonBareCR
	}
	return stDone, 0
}

// lineEnd tells why a value that ends at end is not followed by CRLF.
func lineEnd(data []byte, end int) (status, Reason) {
	switch {
	case end == len(data):
		return stMore, 0
	case data[end] == '\n':
		return stFail, ReasonBareLF
	case data[end] != '\r':
		return stFail, ReasonControlByte
	case end+1 == len(data):
		return stMore, 0
	}
	return stFail, ReasonBareCR
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
