package host

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// The idle program does nothing for ever, in a few hundred bytes, for the sake
// of what a process has: a process namespace, open sockets. It ignores SIGCHLD,
// which has the kernel reap its children, and sleeps.
//
//	rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8); for (;;) pause();
var idleCode = map[string][]byte{
	"amd64": {
		0xb8, 0x0d, 0x00, 0x00, 0x00, // mov $13 (rt_sigaction), %eax
		0xbf, 0x11, 0x00, 0x00, 0x00, // mov $17 (SIGCHLD), %edi
		0x48, 0x8d, 0x35, 0x17, 0x00, 0x00, 0x00, // lea action(%rip), %rsi
		0x31, 0xd2, // xor %edx, %edx
		0x41, 0xba, 0x08, 0x00, 0x00, 0x00, // mov $8, %r10d
		0x0f, 0x05, // syscall
		0xb8, 0x22, 0x00, 0x00, 0x00, // again: mov $34 (pause), %eax
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp again
		0x0f, 0x1f, 0x40, 0x00, // nop
	},
	"arm64": {
		0xc8, 0x10, 0x80, 0xd2, // mov x8, #134 (rt_sigaction)
		0x20, 0x02, 0x80, 0xd2, // mov x0, #17 (SIGCHLD)
		0x81, 0x01, 0x00, 0x10, // adr x1, action
		0x02, 0x00, 0x80, 0xd2, // mov x2, #0
		0x03, 0x01, 0x80, 0xd2, // mov x3, #8
		0x01, 0x00, 0x00, 0xd4, // svc #0
		0x00, 0x00, 0x80, 0xd2, // again: mov x0, #0
		0x01, 0x00, 0x80, 0xd2, // mov x1, #0
		0x02, 0x00, 0x80, 0xd2, // mov x2, #0
		0x03, 0x00, 0x80, 0xd2, // mov x3, #0
		0x28, 0x09, 0x80, 0xd2, // mov x8, #73 (ppoll)
		0x01, 0x00, 0x00, 0xd4, // svc #0
		0xfa, 0xff, 0xff, 0x17, // b again
		0x1f, 0x20, 0x03, 0xd5, // nop
	},
}

// idleProgram is the code as an executable, with the kernel's struct
// sigaction {SIG_IGN, 0, 0, 0} behind it.
func idleProgram(arch string) ([]byte, error) {
	code, ok := idleCode[arch]
	if !ok {
		return nil, fmt.Errorf("there is no idle program for %s: %w", arch, errors.ErrUnsupported)
	}
	const base, headers = 0x400000, 64 + 56
	text := append(bytes.Clone(code), make([]byte, 32)...)
	text[len(code)] = 1 // SIG_IGN
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	size := uint64(headers + len(text))
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
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

// WriteIdleProgram writes a program to path that sleeps until it is killed. On
// processors that it was not written for the error is errors.ErrUnsupported.
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
