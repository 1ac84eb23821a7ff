// Package logs reads the log files that the container runtime writes, in the
// CRI's format, and follows them while a container runs.
//
// It must not write or rotate files, nor watch them: a follower polls the file
// for as long as a client reads, because inotify instances are few on a machine.
// It may import nothing but the standard library.
package logs
