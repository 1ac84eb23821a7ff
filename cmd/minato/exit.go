package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"minato/internal/cluster"
)

// The exit statuses of every command but kubectl, which has its own.
const (
	exitFailed      = 1   // it could not be done
	exitUsage       = 2   // the command line can't be understood; nothing was done
	exitMissing     = 3   // there is no such cluster, image or context; nothing was done to it
	exitInterrupted = 130 // ended by Ctrl-C, as shells number it
)

// exitHelp tells of them in `minato --help`.
const exitHelp = `Exit status:
0 done, 1 failed, 2 a command line that can't be understood, 3 no such cluster,
image or context, 130 interrupted. "minato kubectl" has kubectl's.`

// usageError is an error in the command line; nothing was done.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// report prints an error, if there is one, and returns the exit status.
func report(out io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(out, "minato:", err)
	var usage usageError
	var setting cluster.SettingError
	switch {
	case errors.As(err, &usage), errors.As(err, &setting):
		return exitUsage
	case errors.Is(err, cluster.ErrNoCluster), errors.Is(err, cluster.ErrNoImage), errors.Is(err, cluster.ErrNoContext):
		return exitMissing
	case errors.Is(err, cluster.ErrInterrupted):
		return exitInterrupted
	}
	return exitFailed
}

// untilSignal is a context that ends with the first SIGINT or SIGTERM, and says
// so by its cause.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel(cluster.ErrInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// interrupted has an error say that it came from a signal, which callees report
// as a context that has ended.
func interrupted(ctx context.Context, err error) error {
	if err == nil || !errors.Is(context.Cause(ctx), cluster.ErrInterrupted) || errors.Is(err, cluster.ErrInterrupted) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return cluster.ErrInterrupted
	}
	return fmt.Errorf("%w: %w", cluster.ErrInterrupted, err)
}
