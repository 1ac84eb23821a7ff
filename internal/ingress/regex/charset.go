package regex

import "math/bits"

// charset is a set of bytes.
type charset [4]uint64

func (s *charset) has(c byte) bool { return s[c>>6]>>(c&63)&1 != 0 }
func (s *charset) add(c byte)      { s[c>>6] |= 1 << (c & 63) }

func (s *charset) addRange(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		s.add(byte(c))
	}
}

func (s *charset) addSet(o *charset) {
	for i := range s {
		s[i] |= o[i]
	}
}

func (s *charset) negate() {
	for i := range s {
		s[i] = ^s[i]
	}
}

func (s *charset) disjoint(o *charset) bool {
	return s[0]&o[0]|s[1]&o[1]|s[2]&o[2]|s[3]&o[3] == 0
}

func (s *charset) len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// lowest returns the least byte of a set that is not empty.
func (s *charset) lowest() byte {
	c := byte(0)
	for !s.has(c) {
		c++
	}
	return c
}

// fold adds the other case of each ASCII letter in the set.
func (s *charset) fold() {
	for c := byte('a'); c <= 'z'; c++ {
		if upper := c - 'a' + 'A'; s.has(c) || s.has(upper) {
			s.add(c)
			s.add(upper)
		}
	}
}

// setOf returns the set of the bytes of each pair lo, hi of ranges.
func setOf(ranges string) charset {
	var s charset
	for i := 0; i+1 < len(ranges); i += 2 {
		s.addRange(ranges[i], ranges[i+1])
	}
	return s
}

// inverse returns all bytes that s lacks.
func inverse(s charset) charset {
	s.negate()
	return s
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c == '_' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// class returns the set of a one-letter escape such as \d, in the C locale
// that nginx compiles with (pcre2pattern, "Generic character types").
func class(letter byte) (charset, bool) {
	var s charset
	switch lower(letter) {
	case 'd':
		s = setOf("09")
	case 'w':
		s = setOf("09AZaz__")
	case 's':
		s = setOf("\t\r  ")
	case 'h':
		s = setOf("\t\t  \xa0\xa0")
	case 'v':
		s = setOf("\n\r\x85\x85")
	default:
		if letter != 'N' {
			return s, false
		}
		s = setOf("\n\n")
	}
	if letter < 'a' {
		s.negate()
	}
	return s, true
}

// posix returns the set of a class such as [:alpha:], in the C locale.
func posix(name string, fold bool) (charset, bool) {
	if fold && (name == "upper" || name == "lower") {
		name = "alpha"
	}
	switch name {
	case "alpha":
		return setOf("AZaz"), true
	case "lower":
		return setOf("az"), true
	case "upper":
		return setOf("AZ"), true
	case "alnum":
		return setOf("09AZaz"), true
	case "ascii":
		return setOf("\x00\x7f"), true
	case "blank":
		return setOf("\t\t  "), true
	case "cntrl":
		return setOf("\x00\x1f\x7f\x7f"), true
	case "digit":
		return setOf("09"), true
	case "graph":
		return setOf("!~"), true
	case "print":
		return setOf(" ~"), true
	case "punct":
		return setOf("!/:@[`{~"), true
	case "space":
		return setOf("\t\r  "), true
	case "word":
		return setOf("09AZaz__"), true
	case "xdigit":
		return setOf("09AFaf"), true
	}
	return charset{}, false
}
