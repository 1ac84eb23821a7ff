package nginx

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseSize parses a size as nginx has it: digits with k, m or g, in any case; b is what ingress-nginx lets pass.
func parseSize(s string) (int64, error) {
	digits, shift := s, 0
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'k', 'K':
			digits, shift = s[:n-1], 10
		case 'm', 'M':
			digits, shift = s[:n-1], 20
		case 'g', 'G':
			digits, shift = s[:n-1], 30
		case 'b', 'B':
			digits = s[:n-1]
		}
	}
	v, err := parseDigits(digits)
	if err != nil || v > math.MaxInt64>>shift {
		return 0, errors.New("it is not a size such as 8k, 10m or 1g")
	}
	return v << shift, nil
}

// parseDigits parses a number without a sign.
func parseDigits(s string) (int64, error) {
	if s == "" || strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return 0, errors.New("it is not a whole number")
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, errors.New("it is too large a number")
	}
	return v, nil
}

// parseInt parses a whole number of at least 0 that fits a 32-bit int.
func parseInt(s string) (int, error) {
	v, err := parseDigits(s)
	if err != nil {
		return 0, err
	}
	if v > math.MaxInt32 {
		return 0, errors.New("it is too large a number")
	}
	return int(v), nil
}

// parseSeconds parses a number of seconds without a unit: ingress-nginx takes no other form for its timeouts.
func parseSeconds(s string) (time.Duration, error) {
	v, err := parseInt(s)
	if err != nil {
		return 0, errors.New("it is not a number of seconds without a unit, such as 60")
	}
	return time.Duration(v) * time.Second, nil
}

// parseTime parses a time as nginx's configuration has it: "1h 30m", "500ms", "60". A number without a unit is seconds.
func parseTime(s string) (time.Duration, error) {
	bad := errors.New("it is not a time such as 60s, 5m or 1h 30m")
	var total time.Duration
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return 0, bad
	}
	for _, f := range fields {
		for f != "" {
			n := 0
			for n < len(f) && f[n] >= '0' && f[n] <= '9' {
				n++
			}
			v, err := parseDigits(f[:n])
			if err != nil {
				return 0, bad
			}
			unit, width := timeUnit(f[n:])
			if unit == 0 || v > int64(math.MaxInt64/unit) || total > math.MaxInt64-time.Duration(v)*unit {
				return 0, bad
			}
			total += time.Duration(v) * unit
			f = f[n+width:]
		}
	}
	return total, nil
}

// timeUnit returns the unit that s begins with and its length; 0 for none that nginx knows.
func timeUnit(s string) (time.Duration, int) {
	const day = 24 * time.Hour
	switch {
	case s == "":
		return time.Second, 0
	case strings.HasPrefix(s, "ms"):
		return time.Millisecond, 2
	}
	switch s[0] {
	case 's':
		return time.Second, 1
	case 'm':
		return time.Minute, 1
	case 'h':
		return time.Hour, 1
	case 'd':
		return day, 1
	case 'w':
		return 7 * day, 1
	case 'M':
		return 30 * day, 1
	case 'y':
		return 365 * day, 1
	}
	return 0, 0
}

// parsePrefixes parses a list of addresses and CIDRs. The result is sorted and has each once.
func parsePrefixes(s string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, item := range splitList(s) {
		p, err := parsePrefix(item)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out), nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address or a CIDR such as 10.0.0.0/8", s)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// splitList splits a list at commas, without the empty items and the space around the others.
func splitList(s string) []string {
	var out []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// parseCodes parses a list of HTTP statuses between from and to.
func parseCodes(s string, from, to int) ([]int, error) {
	var out []int
	for _, item := range splitList(s) {
		code, err := parseInt(item)
		if err != nil || code < from || code > to {
			return nil, fmt.Errorf("%q is not a status between %d and %d", item, from, to)
		}
		out = append(out, code)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// controlCharacter returns the place of the first control character, or -1. Tab is one of them.
func controlCharacter(s string) int {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return i
		}
	}
	return -1
}

// isToken tells whether s is a token (RFC 9110, section 5.6.2), as names of headers, cookies and methods are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !nameByte(c) && strings.IndexByte("!#$%&'*+-.^`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isHeaderName tells whether s is a header's name as ingress-nginx lets them pass: letters, digits, "-" and "_".
func isHeaderName(s string) bool {
	for i := range len(s) {
		if !nameByte(s[i]) && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

// isHostName tells whether s is a DNS name, as far as it concerns the bytes that it may have.
func isHostName(s string) bool {
	for i := range len(s) {
		if !nameByte(s[i]) && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return s != "" && len(s) <= 253 && !strings.HasPrefix(s, ".") && !strings.Contains(s, "..")
}
