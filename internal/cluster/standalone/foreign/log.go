package foreign

import (
	"log/slog"
	"os"
)

// debugVerbosity is from where on Kubernetes' programs tell what is of interest only when something is wrong.
const debugVerbosity = 4

// VerbosityUsage describes the flag -v.
const VerbosityUsage = "log verbosity; 4 shows what is of interest only when something is wrong"

// NewLogger logs to the standard error output, with the verbosity of Kubernetes' programs.
func NewLogger(verbosity int) *slog.Logger {
	level := slog.LevelInfo
	if verbosity >= debugVerbosity {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
