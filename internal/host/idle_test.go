package host

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"testing"
)

func TestIdleProgram(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		data, err := idleProgram(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine || len(f.Progs) != 1 || f.Entry < f.Progs[0].Vaddr || f.Progs[0].Filesz != uint64(len(data)) {
			t.Errorf("%s: %+v", arch, f.FileHeader)
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		object, err := idleObjects.ReadFile("idle_" + arch + ".o")
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range f.Sections {
			// Only the text section is used, and it is not linked.
			if s.Type == elf.SHT_RELA || s.Type == elf.SHT_REL || s.Type == elf.SHT_NOBITS && s.Size > 0 || s.Flags&elf.SHF_ALLOC != 0 && s.Name != ".text" && s.Size > 0 {
				t.Errorf("%s: the object has a section %s of %d bytes", arch, s.Name, s.Size)
			}
		}
	}
	if _, err := idleProgram("pdp11"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("pdp11: %v", err)
	}
}

func TestIdleProgramIsOfItsSource(t *testing.T) {
	h := sha256.New()
	for _, name := range []string{"idle/build.sh", "idle/idle.c"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(data)
	}
	want, err := os.ReadFile("idle.sum")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x\n", h.Sum(nil)); got != string(want) {
		t.Error("idle.c has changed since the objects were compiled; run `make generate`")
	}
}
