package h1

import (
	"bytes"
	"math"
)

// Bounds of what one Header keeps for the next message.
const (
	keepFields = 256
	keepArena  = 16 << 10
	maxFields  = 4096
)

// field is one field of a Header: offsets into its text or its arena.
type field struct {
	name, value uint32
	valueLen    uint32
	nameLen     uint16
	id          ID
	flags       uint8
}

const (
	inArena   = 1 << iota // the field was set; else it was received
	wholeLine             // the received line is exactly "name: value\r\n"
)

// Header is a list of fields in the order in which they were received or added.
// Names are ASCII and their case does not matter. The zero value is empty and
// ready for use. A Header allocates nothing once it has seen a few messages.
type Header struct {
	text   []byte // of the received fields
	arena  []byte // of the fields that were set
	fields []field
	// present has the bit of every known field in the Header, twice of those that
	// are there more than once. A set bit of twice may outlive a deletion.
	present, twice uint64
}

func bit(id ID) uint64 { return 1 << id }

// Reset empties the Header. Views of its fields become invalid.
func (h *Header) Reset() {
	h.text, h.arena, h.fields = nil, h.arena[:0], h.fields[:0]
	h.present, h.twice = 0, 0
	if cap(h.fields) > keepFields {
		h.fields = nil
	}
	if cap(h.arena) > keepArena {
		h.arena = nil
	}
}

// Len returns the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// Field returns the i-th field as views; i is less than Len.
func (h *Header) Field(i int) (name, value []byte) {
	f := &h.fields[i]
	return h.nameOf(f), h.valueOf(f)
}

// FieldID returns the ID of the i-th field, or Unknown.
func (h *Header) FieldID(i int) ID { return h.fields[i].id }

func (h *Header) source(f *field) []byte {
	if f.flags&inArena != 0 {
		return h.arena
	}
	return h.text
}

func (h *Header) nameOf(f *field) []byte {
	end := f.name + uint32(f.nameLen)
	return h.source(f)[f.name:end:end]
}

func (h *Header) valueOf(f *field) []byte {
	end := f.value + f.valueLen
	return h.source(f)[f.value:end:end]
}

// Has tells whether the Header has a known field. It costs one comparison.
func (h *Header) Has(id ID) bool { return h.present&bit(id) != 0 && id != Unknown }

// Get returns the value of the first field of id as a view, nil if there is none.
func (h *Header) Get(id ID) []byte {
	if !h.Has(id) {
		return nil
	}
	for i := range h.fields {
		if h.fields[i].id == id {
			return h.valueOf(&h.fields[i])
		}
	}
	return nil
}

// Count returns the number of fields of id.
func (h *Header) Count(id ID) int {
	switch {
	case !h.Has(id):
		return 0
	case h.twice&bit(id) == 0:
		return 1
	}
	n := 0
	for i := range h.fields {
		if h.fields[i].id == id {
			n++
		}
	}
	return n
}

// index returns the first field from i on with the name, or -1.
func (h *Header) index(name string, i int) int {
	id := idOf(name)
	if id != Unknown && !h.Has(id) {
		return -1
	}
	for ; i < len(h.fields); i++ {
		f := &h.fields[i]
		if f.id == id && int(f.nameLen) == len(name) && (id != Unknown || equalFold(h.nameOf(f), name)) {
			return i
		}
	}
	return -1
}

// GetName returns the value of the first field called name as a view, nil if there
// is none.
func (h *Header) GetName(name string) []byte {
	if i := h.index(name, 0); i >= 0 {
		return h.valueOf(&h.fields[i])
	}
	return nil
}

// HasName tells whether the Header has a field called name.
func (h *Header) HasName(name string) bool { return h.index(name, 0) >= 0 }

// Values calls yield with each value of the fields called name, until it returns
// false; for range.
func (h *Header) Values(name string) func(yield func(value []byte) bool) {
	return func(yield func([]byte) bool) {
		for i := h.index(name, 0); i >= 0; i = h.index(name, i+1) {
			if !yield(h.valueOf(&h.fields[i])) {
				return
			}
		}
	}
}

// Add appends a field of a known id. The value is copied; white space around it is
// cut. A value that a field cannot have is ErrInvalidValue and changes nothing.
func (h *Header) Add(id ID, value []byte) error { return add(h, idNames[id], id, value) }

// AddString is Add of a string.
func (h *Header) AddString(id ID, value string) error { return add(h, idNames[id], id, value) }

// AddName appends a field. Its name is written as it is given. A name that is no
// token is ErrInvalidName, a value as in Add; both change nothing.
func (h *Header) AddName(name, value string) error { return addName(h, name, value) }

func addName[T []byte | string](h *Header, name, value T) error {
	if !validToken(name) || len(name) > math.MaxUint16 {
		return ErrInvalidName
	}
	return add(h, name, idOf(name), value)
}

func add[N, V []byte | string](h *Header, name N, id ID, value V) error {
	f, err := store(h, name, id, value)
	if err != nil {
		return err
	}
	if len(h.fields) >= maxFields {
		return ErrTooManyFields
	}
	h.append(f)
	return nil
}

func (h *Header) append(f field) {
	h.fields = append(h.fields, f)
	b := bit(f.id)
	h.twice |= h.present & b
	h.present |= b
}

// store copies a field to the arena.
func store[N, V []byte | string](h *Header, name N, id ID, value V) (field, error) {
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
		value = value[:len(value)-1]
	}
	switch {
	case len(name) == 0:
		return field{}, ErrInvalidName
	case !validValue(value) || len(value) > math.MaxInt32-len(h.arena)-len(name):
		return field{}, ErrInvalidValue
	}
	at := len(h.arena)
	h.arena = append(append(h.arena, name...), value...)
	return field{
		name: uint32(at), nameLen: uint16(len(name)),
		value: uint32(at + len(name)), valueLen: uint32(len(value)),
		id: id, flags: inArena,
	}, nil
}

// Set makes the field of a known id have one value: the first one is replaced in
// its place and others are removed; without one it is appended. Errors as in Add.
func (h *Header) Set(id ID, value []byte) error { return set(h, idNames[id], id, value) }

// SetString is Set of a string.
func (h *Header) SetString(id ID, value string) error { return set(h, idNames[id], id, value) }

// SetName is Set by name. Errors as in AddName.
func (h *Header) SetName(name, value string) error {
	if !validToken(name) || len(name) > math.MaxUint16 {
		return ErrInvalidName
	}
	return set(h, name, idOf(name), value)
}

// Replace is SetName for what a user has an answer say: as nginx's more_set_headers has it, a field without a value is
// removed. What cannot be a field changes nothing.
func (h *Header) Replace(name, value string) {
	if value == "" {
		h.DelName(name)
		return
	}
	_ = h.SetName(name, value)
}

func set[V []byte | string](h *Header, name string, id ID, value V) error {
	i := h.index(name, 0)
	if i < 0 {
		return add(h, name, id, value)
	}
	f, err := store(h, name, id, value)
	if err != nil {
		return err
	}
	h.fields[i] = f
	if id == Unknown || h.twice&bit(id) != 0 {
		h.delFrom(name, i+1)
	}
	return nil
}

// Del removes the fields of id.
func (h *Header) Del(id ID) {
	if h.Has(id) {
		h.DelMask(bit(id))
	}
}

// Mask returns the set of ids, for DelMask.
func Mask(ids ...ID) (mask uint64) {
	for _, id := range ids {
		mask |= bit(id)
	}
	return mask &^ bit(Unknown)
}

// DelMask removes the fields of a set, all in one pass.
func (h *Header) DelMask(mask uint64) {
	mask &^= bit(Unknown)
	if h.present&mask == 0 {
		return
	}
	n := 0
	for _, f := range h.fields {
		if bit(f.id)&mask == 0 {
			h.fields[n] = f
			n++
		}
	}
	h.fields = h.fields[:n]
	h.present &^= mask
	h.twice &^= mask
}

// DelName removes the fields called name.
func (h *Header) DelName(name string) {
	if id := idOf(name); id != Unknown {
		h.Del(id)
		return
	}
	h.delFrom(name, 0)
}

func (h *Header) delFrom(name string, from int) {
	i := h.index(name, from)
	if i < 0 {
		return
	}
	n := i
	for j := i; j < len(h.fields); j++ {
		if f := &h.fields[j]; int(f.nameLen) != len(name) || !equalFold(h.nameOf(f), name) {
			h.fields[n] = *f
			n++
		}
	}
	h.fields = h.fields[:n]
}

// DelFunc removes the fields for which remove is true; it gets views.
func (h *Header) DelFunc(remove func(id ID, name, value []byte) bool) {
	h.present, h.twice = 0, 0
	all := h.fields
	h.fields = h.fields[:0]
	for i := range all {
		f := all[i]
		if remove(f.id, h.nameOf(&f), h.valueOf(&f)) {
			continue
		}
		h.append(f)
	}
}

// CopyTo makes dst hold the same fields, copied out of the Reader's buffer: dst
// stays valid when h does not.
func (h *Header) CopyTo(dst *Header) {
	dst.Reset()
	for i := range h.fields {
		f := &h.fields[i]
		name, value := h.nameOf(f), h.valueOf(f)
		at := uint32(len(dst.arena))
		dst.arena = append(append(dst.arena, name...), value...)
		dst.append(field{name: at, nameLen: f.nameLen, value: at + uint32(f.nameLen), valueLen: f.valueLen, id: f.id, flags: inArena})
	}
}

// HasToken tells whether one of the fields of id, comma-separated lists, holds
// token, in any case.
func (h *Header) HasToken(id ID, token string) bool {
	if !h.Has(id) {
		return false
	}
	for i := range h.fields {
		if f := &h.fields[i]; f.id == id && HasToken(h.valueOf(f), token) {
			return true
		}
	}
	return false
}

// Cookie returns the value of the first cookie called name, whose case matters, as a
// view without the quotes around it (RFC 6265, 4.2.1); nil if there is none.
func (h *Header) Cookie(name string) []byte {
	if !h.Has(Cookie) {
		return nil
	}
	for i := range h.fields {
		f := &h.fields[i]
		if f.id != Cookie {
			continue
		}
		for rest := h.valueOf(f); len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte(";"))
			n, v, ok := bytes.Cut(trimOWS(pair), []byte("="))
			if !ok || string(n) != name {
				continue
			}
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			return v
		}
	}
	return nil
}
