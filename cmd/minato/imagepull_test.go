package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	hello := func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err }
	broken := errors.New("no space")
	file, link, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	content := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("the file has %q, %v; want %q", got, err, want)
		}
	}
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeWhole(file, func(w io.Writer) error { return errors.Join(hello(w), broken) }); !errors.Is(err, broken) {
		t.Error(err)
	}
	content("old")
	if err := errors.Join(os.Symlink("file", link), writeWhole(link, hello)); err != nil {
		t.Error(err)
	}
	content("hello")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		data, _ := os.ReadFile(pipe)
		got <- string(data)
	}()
	if err := writeWhole(pipe, hello); err != nil {
		t.Error(err)
	} else if text := <-got; text != "hello" {
		t.Errorf("the pipe gave %q", text)
	}
	var usage usageError
	if err := writeWhole(dir, hello); !errors.As(err, &usage) {
		t.Errorf("a directory: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 3 {
		t.Errorf("there are %v, %v", left, err)
	}
}

func TestReadInput(t *testing.T) {
	if got, err := readInput(t.Context(), strings.NewReader("secret\n")); err != nil || string(got) != "secret\n" {
		t.Errorf("%q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, w := io.Pipe()
	defer w.Close()
	if _, err := readInput(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody types: %v", err)
	}
}
