package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options choose what is read.
type Options struct {
	Follow     bool
	Timestamps bool
	// Tail is the number of last lines to begin with, below zero for all.
	Tail int64
	// Offset is where in the file to begin, if Tail is below zero.
	Offset int64
	// Since leaves out older lines.
	Since time.Time
	// Limit is the number of bytes to stop after, below zero for none.
	Limit int64
	// Open opens the file, by its path; os.Open if nil.
	Open func(path string) (*os.File, error)
	// Pause is how often a follower looks for more, followPause if zero.
	Pause time.Duration
	// Running tells, for a follower, whether more may come.
	Running func(ctx context.Context) (bool, error)
	// Reached, if set, is told at the end up to where in the file records have
	// been read.
	Reached func(offset int64)
}

// followPause is short enough for a person who watches.
const followPause = 50 * time.Millisecond

// timestampFormat has all nine digits, so that columns line up.
const timestampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Read copies a log file to the two writers; either may be nil to leave that
// output away. A follower returns when the container has ended and everything
// it wrote has been copied, or with nil when ctx ends.
func Read(ctx context.Context, path string, o Options, stdout, stderr io.Writer) error {
	if o.Open == nil {
		o.Open = os.Open
	}
	f, err := o.Open(path)
	if err != nil {
		return fmt.Errorf("failed to open log file %q: %w", path, err)
	}
	r := &reader{path: path, f: f, o: o, out: map[Stream]io.Writer{Stdout: stdout, Stderr: stderr}, left: o.Limit, newLine: map[Stream]bool{Stdout: true, Stderr: true}}
	defer func() { r.f.Close() }()
	start, err := tailStart(f, o.Tail)
	if err != nil {
		return fmt.Errorf("find the last %d lines of %q: %w", o.Tail, path, err)
	}
	if o.Tail < 0 {
		start = o.Offset
	}
	r.at = start
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return fmt.Errorf("read log file %q: %w", path, err)
	}
	r.buf = bufio.NewReader(f)
	err = r.run(ctx)
	if o.Reached != nil {
		o.Reached(r.at)
	}
	if errors.Is(err, errLimit) || ctx.Err() != nil {
		return nil
	}
	return err
}

// maxRecord bounds a record of a log file, in bytes. conmon writes records of a
// few kilobytes, so that a longer one is damage and must not fill the memory.
const maxRecord = 1 << 20

// errLimit ends reading when enough has been written.
var errLimit = errors.New("limit of bytes reached")

type reader struct {
	path    string
	f       *os.File
	buf     *bufio.Reader
	pending []byte // a record whose end has not been read yet, up to maxRecord
	long    int64  // how many bytes that record has beyond maxRecord
	o       Options
	out     map[Stream]io.Writer
	newLine map[Stream]bool
	left    int64
	at      int64 // where the records that were read end
}

func (r *reader) run(ctx context.Context) error {
	pause := followPause
	if r.o.Pause > 0 {
		pause = r.o.Pause
	}
	for {
		if err := r.drain(); err != nil || !r.o.Follow {
			return err
		}
		running := true
		if r.o.Running != nil {
			var err error
			if running, err = r.o.Running(ctx); err != nil {
				return err
			}
		}
		if !running {
			// What was written between the last look and the end.
			return r.drain()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if err := r.reopen(); err != nil {
			return err
		}
	}
}

// drain copies all complete records.
func (r *reader) drain() error {
	for {
		b, err := r.buf.ReadSlice('\n')
		if room := maxRecord - len(r.pending); len(b) > room {
			r.pending, r.long = append(r.pending, b[:room]...), r.long+int64(len(b)-room)
		} else {
			r.pending = append(r.pending, b...)
		}
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return fmt.Errorf("read log file %q: %w", r.path, err)
		}
		record, long := r.pending, r.long
		r.pending, r.long = nil, 0
		r.at += int64(len(record)) + long
		if long > 0 {
			continue // no record of the runtime's is so long: the file is damaged
		}
		l, err := parse(record)
		if err != nil {
			continue // a damaged record must not hide the others
		}
		if err := r.write(l); err != nil {
			return err
		}
	}
}

// reopen goes on with the new file once the old one has been rotated away.
func (r *reader) reopen() error {
	have, err := r.f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(r.path)
	if errors.Is(err, os.ErrNotExist) || (err == nil && os.SameFile(have, now)) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.drain(); err != nil {
		return err
	}
	f, err := r.o.Open(r.path)
	if err != nil {
		return err
	}
	r.f.Close()
	r.f, r.pending, r.long, r.at = f, nil, 0, 0
	r.buf.Reset(f)
	return nil
}

func (r *reader) write(l line) error {
	w := r.out[l.stream]
	if w == nil || l.time.Before(r.o.Since) {
		return nil
	}
	text := l.text
	if r.o.Timestamps && r.newLine[l.stream] {
		text = append([]byte(l.time.Format(timestampFormat)+" "), text...)
	}
	r.newLine[l.stream] = !l.partial
	if r.left >= 0 {
		if int64(len(text)) > r.left {
			text = text[:r.left]
		}
		r.left -= int64(len(text))
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if r.left == 0 {
		return errLimit
	}
	return nil
}

// tailBlock is how much is read at a time when looking for the last lines.
const tailBlock = 4096

// tailStart finds where the last n records begin.
func tailStart(f io.ReaderAt, n int64) (int64, error) {
	if n < 0 {
		return 0, nil
	}
	size, err := sizeOf(f)
	if err != nil {
		return 0, err
	}
	block := make([]byte, tailBlock)
	var seen int64
	for end := size; end > 0; {
		begin := max(end-tailBlock, 0)
		b := block[:end-begin]
		if _, err := f.ReadAt(b, begin); err != nil && err != io.EOF {
			return 0, err
		}
		for i := bytes.LastIndexByte(b, '\n'); i >= 0; i = bytes.LastIndexByte(b[:i], '\n') {
			if seen++; seen > n {
				return begin + int64(i) + 1, nil
			}
		}
		end = begin
	}
	return 0, nil
}

func sizeOf(f io.ReaderAt) (int64, error) {
	s, ok := f.(interface{ Stat() (os.FileInfo, error) })
	if !ok {
		return 0, errors.New("the log's size is not known")
	}
	info, err := s.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
