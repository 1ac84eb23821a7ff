package lab

import (
	"fmt"
	"testing"

	"minato/internal/host"
)

// Namespace makes a network namespace for a test, in place of one that a killed run left.
func Namespace(t *testing.T, name string) host.Netns {
	t.Helper()
	if old := host.NamedNetns(name); old.Exists() {
		if err := host.DeleteNetns(old); err != nil {
			t.Fatal(err)
		}
	}
	ns, err := host.CreateNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.EnableIPv6(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.DeleteNetns(ns); err != nil {
			t.Error(err)
		}
	})
	return ns
}

// Edit changes a namespace.
func Edit(t *testing.T, ns host.Netns, fn func(*host.Net) error) {
	t.Helper()
	n, err := host.OpenNet(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := fn(n); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", ns.Name, err))
	}
}
