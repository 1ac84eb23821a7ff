package table

import (
	"errors"
	"testing"
)

// As nginx has it before it looks for a location (measured), but for what is said.
func TestNormalizePath(t *testing.T) {
	for _, tt := range []struct {
		raw, want string
		flags     PathFlags
		err       error
	}{
		{"/", "/", 0, nil},
		{"/foo/bar", "/foo/bar", 0, nil},
		{"/.well-known/acme", "/.well-known/acme", 0, nil},
		{"/a..b/..c/d..", "/a..b/..c/d..", 0, nil},
		{"/a%20b", "/a b", PathDecoded, nil},
		{"/%61", "/a", PathDecoded, nil},
		{"/a%2Fb", "/a/b", PathDecoded | PathSlash, nil},
		{"/a%5cb", "/a\\b", PathDecoded | PathSlash, nil},
		{"/%252e", "/%2e", PathDecoded, nil}, // once
		{"//a///b", "/a/b", PathMerged, nil},
		{"/a/%2F/b", "/a/b", PathDecoded | PathSlash | PathMerged, nil},
		{"/public/../admin", "/admin", PathDots, nil},
		{"/public/%2e%2E/admin", "/admin", PathDecoded | PathDots, nil},
		{"/public%2f..%2fadmin", "/admin", PathDecoded | PathSlash | PathDots, nil},
		{"/a/./b", "/a/b", PathDots, nil},
		{"/a/.", "/a/", PathDots, nil},
		{"/a/b/..", "/a/", PathDots, nil},
		{"/a/..", "/", PathDots, nil},
		{"/..", "", 0, ErrPathAbove},
		{"/a/../../b", "", 0, ErrPathAbove},
		{"/%", "", 0, ErrPathEscape},
		{"/%4", "", 0, ErrPathEscape},
		{"/%g0", "", 0, ErrPathEscape},
		{"/a%00b", "", 0, ErrPathZero},
		{"/a\x00b", "", 0, ErrPathZero},
		{"", "", 0, ErrPathForm},
		{"a", "", 0, ErrPathForm},
		{"*", "", 0, ErrPathForm},
	} {
		got, flags, err := NormalizePath(make([]byte, 0, 64), tt.raw)
		if got != tt.want || flags != tt.flags || !errors.Is(err, tt.err) {
			t.Errorf("%q becomes %q, flags %b, %v; want %q, %b, %v", tt.raw, got, flags, err, tt.want, tt.flags, tt.err)
		}
		if tt.flags&(PathDots|PathSlash|PathMerged) != 0 != flags.Ambiguous() {
			t.Errorf("%q: ambiguous is %v", tt.raw, flags.Ambiguous())
		}
	}
}

// A path can't be matched by another rule than the one of the path it means.
func TestPathsCannotEscapeRules(t *testing.T) {
	table := build(ing("a", 1, "h P /public open", "h P /admin closed"))
	for _, raw := range []string{"/public/../admin", "/public/%2e%2e/admin", "/public/..%2fadmin", "//admin", "/./admin", "/%61dmin", "/public//..//admin"} {
		p, _, err := NormalizePath(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := answer(table, "h", p); got != "closed" {
			t.Errorf("%s goes to %s", raw, got)
		}
	}
}
