package host

import (
	"bytes"
	"debug/elf"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

//go:generate idle/build.sh

// The idle program is a process of a few hundred bytes that waits for ever, so
// that what a process holds stays: a process namespace, open sockets. With a
// command as its arguments it also runs that command again whenever its process
// ends. See idle/idle.c.

//go:embed idle_amd64.o idle_arm64.o
var idleObjects embed.FS

// idleProgram is the text of the object for a processor as an executable.
func idleProgram(arch string) ([]byte, error) {
	object, err := idleObjects.ReadFile("idle_" + arch + ".o")
	if err != nil {
		return nil, fmt.Errorf("there is no idle program for %s: %w", arch, errors.ErrUnsupported)
	}
	compiled, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("read the idle program: %w", err)
	}
	text, err := compiled.Section(".text").Data()
	if err != nil {
		return nil, fmt.Errorf("read the idle program: %w", err)
	}
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(text))
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(compiled.Machine), Version: uint32(elf.EV_CURRENT),
			Entry: base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
			Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x1000,
		},
		text,
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// WriteIdleProgram writes a program to path that sleeps until it is killed, or,
// given a command as its arguments, runs it again and again as a [Keeper] says.
// On processors that it was not compiled for the error is errors.ErrUnsupported.
func WriteIdleProgram(path string) error {
	program, err := idleProgram(runtime.GOARCH)
	if err != nil {
		return err
	}
	// A child forked while the file is open for writing would keep it open,
	// and then it can't be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, program, 0o700)
}
