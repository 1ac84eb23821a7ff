package partlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options choose what is read.
type Options struct {
	Selector
	// Since leaves out lines before that time, Before those from it on, if set.
	Since, Before time.Time
	// Tail is the number of last lines to begin with, and Limit the number of bytes
	// to stop after; below zero for all.
	Tail, Limit int64
	// Follow waits for more lines until ctx ends.
	Follow bool
	// Timestamps puts the line's time before it.
	Timestamps bool
	// Pause is how often a follower looks for more, a tenth of a second if zero.
	Pause time.Duration
}

// farthest is how much of the end of a file is looked through, in bytes.
const farthest = 64 << 20

// longest is how much of one line is read; the rest is left out.
const longest = 1 << 20

// Read writes the lines of the file at path that are chosen.
func Read(ctx context.Context, path string, o Options, w io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > farthest {
		if _, err := f.Seek(-farthest, io.SeekEnd); err != nil {
			return fmt.Errorf("read the server's log: %w", err)
		}
	}
	r := &reader{o: o, w: w, in: bufio.NewReaderSize(f, 1<<16), left: o.Limit}
	if err := r.begin(); err != nil || !o.Follow {
		return r.end(err)
	}
	pause := o.Pause
	if pause == 0 {
		pause = 100 * time.Millisecond
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if err := r.more(r.write); err != nil {
			return r.end(err)
		}
	}
}

// errLimit says that enough was written.
var errLimit = errors.New("the limit is reached")

type reader struct {
	o     Options
	w     io.Writer
	in    *bufio.Reader
	part  []byte // of a line whose end was not there yet
	taken bool   // the line before was chosen: lines of another form follow it
	left  int64
}

func (r *reader) end(err error) error {
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// begin writes what is there.
func (r *reader) begin() error {
	if r.o.Tail < 0 {
		return r.more(r.write)
	}
	var last []string
	err := r.more(func(line string) error {
		if last = append(last, line); int64(len(last)) > r.o.Tail {
			last = last[1:]
		}
		return nil
	})
	for _, line := range last {
		if err == nil {
			err = r.write(line)
		}
	}
	return err
}

// more hands on the chosen lines up to the end of the file.
func (r *reader) more(take func(string) error) error {
	for {
		piece, err := r.in.ReadSlice('\n')
		if room := longest - len(r.part); room > 0 {
			r.part = append(r.part, piece[:min(len(piece), room)]...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil // the rest of the line comes later, or never
		case err != nil:
			return fmt.Errorf("read the server's log: %w", err)
		}
		line := string(r.part)
		r.part = r.part[:0]
		if out, ok := r.choose(line); ok {
			if err := take(out); err != nil {
				return err
			}
		}
	}
}

// choose tells whether a line is to be written, and how.
func (r *reader) choose(line string) (string, bool) {
	l := Parse(line[:max(len(line)-1, 0)])
	if l.Time.IsZero() {
		return line, r.taken // goes on with what the line before says
	}
	r.taken = r.o.Matches(l) && !l.Time.Before(r.o.Since) && (r.o.Before.IsZero() || l.Time.Before(r.o.Before))
	if r.taken && r.o.Timestamps {
		line = l.Time.Format(time.RFC3339Nano) + " " + line
	}
	return line, r.taken
}

func (r *reader) write(line string) error {
	if r.o.Limit >= 0 && int64(len(line)) >= r.left {
		line = line[:r.left]
	}
	if _, err := io.WriteString(r.w, line); err != nil {
		return err
	}
	if r.o.Limit >= 0 {
		if r.left -= int64(len(line)); r.left <= 0 {
			return errLimit
		}
	}
	return nil
}
