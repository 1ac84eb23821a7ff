// Package partlog reads the lines of single parts from the log that the server
// prints, in the form of slog's text handler.
//
// It reads that file alone and writes none. It may import the standard library.
package partlog
