package main

import (
	"strings"
	"testing"
)

// What only explains itself needs no cluster.
func TestEtcdctlNeedsTheStore(t *testing.T) {
	for args, want := range map[string]bool{"": false, "--help": false, "get -h": false, "version": false, "get /": true, "get -- --help": true} {
		if needsStore(strings.Fields(args)) != want {
			t.Errorf("%q: needs the store: %v", args, !want)
		}
	}
}
