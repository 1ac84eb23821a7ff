package host

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root")
	}
	ns, err := CreateNetnsAt(filepath.Join(t.TempDir(), "ns"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := DeleteNetns(ns); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("SECRET", "of this process")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	given, err := os.CreateTemp(t.TempDir(), "given")
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	c := Confined{
		Path: "/bin/sh", Args: []string{"-c", "id -u; id -G; grep -e Cap -e NoNew /proc/self/status; env; ls /proc/$$/fd; readlink /proc/$$/ns/net; cat /proc/net/dev"},
		Env: []string{"A=b"}, Netns: ns, Output: w,
	}
	cmd, err := c.Start(given)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, _ := io.ReadAll(r)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := string(out)
	for _, want := range []string{"65534\n65534\n", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "A=b", "lo:"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if bytes.Contains(out, []byte("SECRET")) {
		t.Errorf("the program has this process's environment:\n%s", text)
	}
	if !strings.Contains(text, "\n0\n1\n2\n3\n") || strings.Contains(text, "\n4\n") {
		t.Errorf("the program has other descriptors than 0 to 3:\n%s", text)
	}
	if here, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || strings.Contains(text, here) || !strings.Contains(text, "net:[") {
		t.Errorf("the program is not in the namespace, but in %s (%v):\n%s", here, err, text)
	}
}
