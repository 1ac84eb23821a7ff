package proxy

import "testing"

func TestAppendPath(t *testing.T) {
	for raw, want := range map[string]string{
		"/": "/", "/a/b": "/a/b", "/a%2Fb": "/a/b", "//a///b//": "/a/b/", "/a/./b": "/a/b", "/a/.": "/a/", "/a/..": "/",
		"/a/../b": "/b", "/a/b/../c/": "/a/c/", "/a/b/%2e%2E/c": "/a/c", "/..a": "/..a", "/a%20b": "/a b", "/%41": "/A",
		"/a/..%2fb": "/b", "/...": "/...", "/.a/": "/.a/",
	} {
		got, ok := appendPath(nil, []byte(raw))
		if !ok || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", raw, got, ok, want)
		}
	}
	for _, raw := range []string{"/..", "/../a", "/a/../..", "/a/../../b", "/%2e%2e/", "*", "", "a"} {
		if got, ok := appendPath(nil, []byte(raw)); ok {
			t.Errorf("%s: %q, but it leaves the root", raw, got)
		}
	}
}
