package host

import (
	"bytes"
	"debug/elf"
	"errors"
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
	if _, err := idleProgram("pdp11"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("pdp11: %v", err)
	}
}
