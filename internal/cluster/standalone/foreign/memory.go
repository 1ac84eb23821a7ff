package foreign

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"minato/internal/host"
)

// settledGCPercent is how much garbage may pile up once everything is loaded, in percent of what is in use. Changes make
// little of it.
const settledGCPercent = 30

// settledAfter is how long the objects of a full list may be in use before they have been processed.
const settledAfter = 10 * time.Second

// SlimDown gives memory back to the kernel after the start, and after each full list of the objects: reading all objects
// takes far more memory than keeping them, and most of the program's pages are only used by other commands. Started is
// closed when everything was loaded; replaced holds a token after a full list, and may be nil.
func SlimDown(ctx context.Context, log *slog.Logger, started, replaced <-chan struct{}) {
	select {
	case <-started:
	case <-ctx.Done():
		return
	}
	debug.SetGCPercent(settledGCPercent)
	if err := host.ReleaseProgramPages(); err != nil {
		log.Warn("Memory of the program's pages that only the start needed could not be given back", "error", err)
	}
	for {
		debug.FreeOSMemory()
		select {
		case <-replaced:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(settledAfter):
		case <-ctx.Done():
			return
		}
	}
}
