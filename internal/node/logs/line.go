package logs

import (
	"bytes"
	"fmt"
	"time"
)

// Stream is which output a line came from.
type Stream string

// The two outputs of a process.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// line is one record of a log file: `TIME STREAM TAG TEXT\n`. A record with tag
// P is a part of a line that goes on in the next.
type line struct {
	time    time.Time
	stream  Stream
	partial bool
	text    []byte // with its newline unless partial
}

func parse(record []byte) (line, error) {
	var l line
	stamp, rest, ok1 := bytes.Cut(record, []byte{' '})
	stream, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tags, text, ok3 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || !ok3 {
		return l, fmt.Errorf("log record %.60q does not read TIME STREAM TAG TEXT", record)
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return l, fmt.Errorf("log record: %w", err)
	}
	l.time, l.stream = t, Stream(stream)
	if l.stream != Stdout && l.stream != Stderr {
		return l, fmt.Errorf("log record: unknown stream %.20q", stream)
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	l.partial = string(tag) == "P"
	l.text = text
	if l.partial {
		l.text = bytes.TrimSuffix(text, []byte{'\n'})
	}
	return l, nil
}
