// Package logbook reads the log of a cluster's server: the file that it writes
// and the older ones that Rotate has made of it. It knows the form of the lines,
// which is slog's text, and not what they are about. It imports nothing of
// Minato.
package logbook
