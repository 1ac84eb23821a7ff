package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestDraw(t *testing.T) {
	var out bytes.Buffer
	err := draw(&out, "make <demo>", []line{
		{at: 100 * time.Millisecond, text: "\x1b[1mbold\x1b[0m & plain"},
		{at: 100 * time.Millisecond, text: ""},
		{at: time.Minute, text: "late"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for dec := xml.NewDecoder(bytes.NewReader(out.Bytes())); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
	}
	for _, want := range []string{
		">$ make &lt;demo&gt;</text>",
		`animation-delay: 100ms" x="16" y="72" xml:space="preserve">bold &amp; plain</text>`,
		`animation-delay: 1600ms" x="16" y="110" xml:space="preserve">late</text>`, // the wait is shortened, the empty line kept
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("the picture has the terminal's escapes in it")
	}
}

func TestWatch(t *testing.T) {
	var out bytes.Buffer
	lines, err := watch(context.Background(), &out, []string{"sh", "-c", "echo one; echo two >&2"})
	if err != nil || len(lines) != 2 || lines[0].text != "one" || lines[1].text != "two" || lines[1].at < lines[0].at {
		t.Errorf("%v, %v", lines, err)
	}
	if out.String() != "one\ntwo\n" {
		t.Errorf("passed on %q", out.String())
	}
	if _, err := watch(context.Background(), io.Discard, []string{"sh", "-c", "echo one; exit 3"}); err == nil {
		t.Error("a command that fails is no error")
	}
}
