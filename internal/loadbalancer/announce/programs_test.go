package announce

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

// TestObjectIsCurrent fails if the sources changed and the object was not compiled again.
func TestObjectIsCurrent(t *testing.T) {
	files := []string{"bpf/build.sh", "bpf/announce.c"}
	for _, dir := range []string{"bpf", "../../host/bpf"} {
		headers, err := filepath.Glob(dir + "/*.h") // sorted
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, headers...)
	}
	h := sha256.New()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(data)
	}
	recorded, err := os.ReadFile("announce.sum")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != strings.TrimSpace(string(recorded)) {
		t.Error("announce.o was compiled from other sources; run go generate with clang 14 installed")
	}
}

// TestObjectCompilesToTheSame compiles the sources where the pinned compiler is there.
func TestObjectCompilesToTheSame(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	out := filepath.Join(t.TempDir(), "announce.o")
	if msg, err := exec.Command("bpf/build.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	compiled, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(compiled, object) {
		t.Error("the sources compile to something else than announce.o; run go generate")
	}
}

func TestLayoutsAgree(t *testing.T) {
	spec, err := collectionSpec()
	if err != nil {
		t.Fatal(err)
	}
	for name, sizes := range map[string][2]uintptr{
		"addresses": {unsafe.Sizeof(address{}), unsafe.Sizeof(addressEntry{})},
		"links":     {4, unsafe.Sizeof(linkEntry{})},
		"hosts":     {4, unsafe.Sizeof(hostEntry{})},
		"peers":     {unsafe.Sizeof(address{}), unsafe.Sizeof(peerEntry{})},
		"stations":  {unsafe.Sizeof(mac{}), 4},
		"spreads":   {unsafe.Sizeof(spreadKey{}), unsafe.Sizeof(spreadEntry{})},
		"tables":    {4, unsafe.Sizeof(tableEntry{})},
		"counters":  {unsafe.Sizeof(address{}), unsafe.Sizeof(countsEntry{})},
		"config":    {4, unsafe.Sizeof(settings{})},
	} {
		m := spec.Maps[name]
		if uintptr(m.KeySize) != sizes[0] || uintptr(m.ValueSize) != sizes[1] {
			t.Errorf("table %s: C has %d and %d bytes, Go %d and %d", name, m.KeySize, m.ValueSize, sizes[0], sizes[1])
		}
	}
	// A table takes the memory of the next power of two, and the kernel's own part of an entry takes 64 bytes.
	if size := unsafe.Sizeof(tableEntry{}); size > 4096-64 {
		t.Errorf("an entry of tables has %d bytes", size)
	}
	for _, name := range []string{program4, program6} {
		if p := spec.Programs[name]; p == nil || p.Type != ebpf.SchedCLS {
			t.Errorf("program %s: %v", name, p)
		}
	}
}

// TestProgramsAreCheapToVerify: a node starts only when its programs are verified, some 0.6 µs for each instruction that
// the kernel looks at.
func TestProgramsAreCheapToVerify(t *testing.T) {
	requireRoot(t)
	spec, err := specFor(true, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer c.Close()
	const limit = 8000
	for name, p := range c.Programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if ok && n > limit {
			t.Errorf("program %s: the kernel looked at %d instructions, more than %d", name, n, limit)
		}
		t.Logf("program %s: %d instructions", name, n)
	}
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}
