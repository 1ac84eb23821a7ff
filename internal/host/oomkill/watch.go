package oomkill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Log is the kernel's log as records.
const Log = "/dev/kmsg"

// longest is more than the kernel writes in one record.
const longest = 8 << 10

// Run tells killed of each process that is ended from now on, until ctx ends.
// killed must not block for long. An error is one of the log, which cannot be read
// without the rights to.
func Run(ctx context.Context, killed func(Kill)) error {
	f, err := os.OpenFile(Log, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open the kernel's log: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer func() {
		if stop() {
			_ = f.Close()
		}
	}()
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("find the end of the kernel's log: %w", err)
	}
	record := make([]byte, longest)
	for {
		n, err := f.Read(record)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EPIPE): // records were overwritten before we have read them
			continue
		case err != nil:
			return fmt.Errorf("read the kernel's log: %w", err)
		}
		if k, ok := parse(string(record[:n])); ok {
			killed(k)
		}
	}
}
