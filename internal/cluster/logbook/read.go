package logbook

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Options say what of a log is read, and how.
type Options struct {
	Filter
	// Tail is how many of the last lines are read; negative for all.
	Tail int
	// Follow goes on with what is written later.
	Follow bool
}

// longest is how much of a line is kept, in bytes.
const longest = 1 << 20

// Read calls each with the wanted lines of the log at path in the order in which
// they were written, those of its older files first. It returns when it has come
// to the end or, if it follows, when ctx ends.
func Read(ctx context.Context, path string, o Options, each func(Line) error) error {
	older, tail, err := open(path)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer tail.file.Close()
	defer closeAll(older)
	selector := &Selector{Filter: o.Filter}
	emit := func(l Line) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !selector.Wants(l) {
			return nil
		}
		return each(l)
	}
	// With a tail, lines are held until it is known that they are among the last.
	held := &ring{size: o.Tail}
	collect := emit
	if o.Tail >= 0 {
		collect = func(l Line) error {
			if selector.Wants(l) {
				held.add(l)
			}
			return ctx.Err()
		}
	}
	for _, f := range older {
		r := &reader{file: f}
		if err := r.more(collect); err != nil {
			return err
		}
		if err := r.rest(collect); err != nil {
			return err
		}
	}
	if err := tail.catchUp(collect); err != nil {
		return err
	}
	if !o.Follow {
		if err := tail.rest(collect); err != nil {
			return err
		}
	}
	for _, l := range held.lines() {
		if err := each(l); err != nil {
			return err
		}
	}
	if !o.Follow {
		return nil
	}
	return tail.follow(ctx, emit)
}

// open opens all files of a log, the oldest first and the last one for what is
// appended, as they are between two rotations.
func open(path string) (older []*os.File, tail *reader, err error) {
	current, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := lock(current, syscall.LOCK_SH)
	if err != nil {
		current.Close()
		return nil, nil, err
	}
	defer unlock()
	tail = &reader{path: path, file: current}
	for _, name := range Files(path) {
		if name == path {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			closeAll(append(older, current))
			return nil, nil, err
		}
		older = append(older, f)
	}
	tail.older, err = stat(olderFile(path, 1))
	return older, tail, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// stat is os.Stat, with nil for a file that there is not.
func stat(path string) (os.FileInfo, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

// reader reads a file that others append to, line by line.
type reader struct {
	path    string
	file    *os.File
	older   os.FileInfo // the youngest of the older files, nil for none
	offset  int64
	partial []byte // of a line without an end so far
}

// catchUp passes on what was appended. A log that was rotated meanwhile is read to
// its end in the older file, and then from its beginning.
func (r *reader) catchUp(each func(Line) error) error {
	moved, err := r.rotated()
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	if moved != nil {
		defer moved.Close()
		remainder := &reader{file: moved, offset: r.offset, partial: r.partial}
		err := remainder.more(each)
		r.offset, r.partial = 0, remainder.partial
		if err != nil {
			return err
		}
	}
	return r.more(each)
}

// rotated returns the file that has what was in the log, if it was rotated.
func (r *reader) rotated() (*os.File, error) {
	unlock, err := lock(r.file, syscall.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer unlock()
	name := olderFile(r.path, 1)
	is, err := stat(name)
	if err != nil || is == nil || r.older != nil && os.SameFile(is, r.older) {
		return nil, err
	}
	moved, err := os.Open(name)
	if err == nil {
		r.older = is
	}
	return moved, err
}

// more passes on the lines that have an end.
func (r *reader) more(each func(Line) error) error {
	in := bufio.NewReaderSize(io.NewSectionReader(r.file, r.offset, 1<<62), 64<<10)
	for {
		chunk, err := in.ReadSlice('\n')
		r.offset += int64(len(chunk))
		if len(r.partial)+len(chunk) <= longest || bytes.HasSuffix(chunk, []byte{'\n'}) {
			r.partial = append(r.partial, chunk...)
		}
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return fmt.Errorf("read the log: %w", err)
		}
		if err := r.rest(each); err != nil {
			return err
		}
	}
}

// rest passes on what was read of a line.
func (r *reader) rest(each func(Line) error) error {
	if len(r.partial) == 0 {
		return nil
	}
	text := strings.TrimRight(string(r.partial), "\n")
	r.partial = r.partial[:0]
	return each(Parse(text))
}

// followEvery is how often a followed log is looked at.
const followEvery = 100 * time.Millisecond

// follow passes on what is appended, until ctx ends.
func (r *reader) follow(ctx context.Context, each func(Line) error) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		if err := r.catchUp(each); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ring keeps the last lines that it is given.
type ring struct {
	size int
	kept []Line
	next int
}

func (r *ring) add(l Line) {
	switch {
	case r.size == 0:
	case len(r.kept) < r.size:
		r.kept = append(r.kept, l)
	default:
		r.kept[r.next] = l
		r.next = (r.next + 1) % r.size
	}
}

func (r *ring) lines() []Line { return slices.Concat(r.kept[r.next:], r.kept[:r.next]) }

// Names lists the parts and the nodes that a log has lines of.
func Names(ctx context.Context, path string) (parts, nodes []string, err error) {
	seenParts, seenNodes := map[string]bool{}, map[string]bool{}
	err = Read(ctx, path, Options{Tail: -1}, func(l Line) error {
		for _, part := range l.Parts() {
			seenParts[part] = true
		}
		seenNodes[l.Node()] = true
		return nil
	})
	delete(seenNodes, "")
	return sorted(seenParts), sorted(seenNodes), err
}

func sorted(set map[string]bool) []string {
	var out []string
	for name := range set {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
