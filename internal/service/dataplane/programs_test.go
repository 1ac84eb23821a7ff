package dataplane

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestObjectIsCurrent fails if the sources changed and the object was not compiled again.
func TestObjectIsCurrent(t *testing.T) {
	files := []string{"bpf/build.sh", "bpf/dataplane.c"}
	var headers []string
	for _, dir := range []string{"bpf", "../../host/bpf"} {
		found, err := filepath.Glob(dir + "/*.h") // sorted
		if err != nil {
			t.Fatal(err)
		}
		headers = append(headers, found...)
	}
	h := sha256.New()
	for _, f := range append(files, headers...) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(data)
	}
	recorded, err := os.ReadFile("dataplane.sum")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != strings.TrimSpace(string(recorded)) {
		t.Error("dataplane.o was compiled from other sources; run go generate with clang 14 installed")
	}
}

// TestObjectCompilesToTheSame compiles the sources where the pinned compiler is there.
func TestObjectCompilesToTheSame(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	out := filepath.Join(t.TempDir(), "dataplane.o")
	if msg, err := exec.Command("bpf/build.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	compiled, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(compiled, object) {
		t.Error("the sources compile to something else than dataplane.o; run go generate")
	}
}
