// Command record runs a command and writes a picture of the terminal (SVG) in
// which each line appears when it was printed. Where a picture can't move, all
// of it is there.
//
//	go run ./demo/record -out docs/demo.svg -title 'make demo' -lines 40 -- demo/demo.sh bin/minato build/images
//
// It may import the standard library only, and must not touch the command's
// output.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("record", flag.ContinueOnError)
	out := flags.String("out", "", "file for the picture")
	title := flags.String("title", "", "the line that is typed; without one, the command itself")
	lines := flags.Int("lines", 60, "how many lines the picture shows at most; the rest of the output is left out of it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || flags.NArg() == 0 || *lines < 1 {
		return errors.New("usage: record -out FILE [-title TEXT] [-lines N] -- COMMAND ARG...")
	}
	if *title == "" {
		*title = fmt.Sprint(flags.Args())
	}
	printed, err := watch(ctx, os.Stdout, flags.Args())
	if err != nil {
		return fmt.Errorf("run %v: %w", flags.Args(), err)
	}
	if len(printed) > *lines {
		printed = printed[:*lines]
	}
	f, err := os.Create(*out)
	if err != nil {
		return err
	}
	return errors.Join(draw(f, *title, printed), f.Close())
}

// watch runs a command and notes when it prints each line, which it passes on.
func watch(ctx context.Context, out io.Writer, command []string) ([]line, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		w.Close()
		ended <- err
	}()
	var printed []line
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		printed = append(printed, line{at: time.Since(began), text: scan.Text()})
		fmt.Fprintln(out, scan.Text())
	}
	r.CloseWithError(scan.Err()) // a line too long must not leave the command waiting
	return printed, errors.Join(scan.Err(), <-ended)
}
