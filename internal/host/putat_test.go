package host

import (
	"os"
	"path/filepath"
	"testing"
)

// A path of one network namespace leads to another one, and to nothing below it.
func TestPutAt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root")
	}
	dir := t.TempDir()
	var made []Netns
	for _, name := range []string{"node", "pod"} {
		ns, err := CreateNetnsAt(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, ns)
		t.Cleanup(func() {
			if err := DeleteNetns(ns); err != nil {
				t.Error(err)
			}
		})
	}
	node, pod := made[0], made[1]
	if err := node.PutAt(pod.Path); err != nil {
		t.Fatal(err)
	}
	a, err := os.Stat(node.Path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Stat(pod.Path)
	if err != nil || !os.SameFile(a, b) {
		t.Errorf("the path leads to %v, want %v; %v", b, a, err)
	}
	if err := Unmount(pod.Path); err != nil {
		t.Fatal(err)
	}
	if pod.Exists() {
		t.Error("something is mounted below")
	}
	if err := node.PutAt(pod.Path); err == nil {
		t.Error("no error where no namespace is mounted")
	}
}
