package host

import (
	"os"
	"testing"
)

func TestShows(t *testing.T) {
	m := newMountTest(t)
	m.mkdir("secret/pki")
	for _, b := range [][2]string{{".", "views/all"}, {"secret/pki", "views/part"}, {"etc", "views/etc"}} {
		if err := BindMount(m.path(b[0]), m.mkdir(b[1]), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(m.path("secret"), m.path("link")); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{
		".": true, "secret": true, "secret/pki": true, "link": true, "views": true, "views/all": true, "views/part": true,
		"views/all/secret/pki": true, "views/all/etc": false, "views/etc": false, "etc": false, "shared": false,
	} {
		if got, err := Shows(m.path(dir), m.path("secret")); err != nil || got != want {
			t.Errorf("%s: %t, %v, want %t", dir, got, err, want)
		}
	}
	for dir, want := range map[string]bool{"shared": true, "views/all": true, "views/all/shared": true, "etc": false} {
		if got, err := Shows(m.path(dir), m.path("shared/not/yet")); err != nil || got != want {
			t.Errorf("%s with a directory to come: %t, %v, want %t", dir, got, err, want)
		}
	}
	if _, err := Shows(m.path("missing"), m.path("secret")); err == nil {
		t.Error("a missing directory is no error")
	}
}
