package main

import (
	"slices"
	"strings"
	"testing"
)

func TestFindEtcdctl(t *testing.T) {
	for args, want := range map[string]struct {
		is   bool
		name string
		rest string
	}{
		"etcdctl get / --prefix":      {true, "minato", "get / --prefix"},
		"--name=a etcdctl get --name": {true, "a", "get --name"},
		"etcdctl --name b get /":      {true, "b", "get /"},
		"etcdctl":                     {true, "minato", ""},
		"kubectl get etcdctl":         {false, "", ""},
		"":                            {false, "", ""},
	} {
		call, is := findEtcdctl(strings.Fields(args))
		if is != want.is || is && (call.name != want.name || !slices.Equal(call.args, strings.Fields(want.rest))) {
			t.Errorf("%q: %+v, %v", args, call, is)
		}
	}
	for args, want := range map[string]bool{"": false, "--help": false, "get -h": false, "version": false, "get /": true, "get -- --help": true} {
		if needsStore(strings.Fields(args)) != want {
			t.Errorf("%q: needs the store: %v", args, !want)
		}
	}
}
