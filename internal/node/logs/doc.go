// Package logs reads the log files that the container runtime writes, in the
// CRI's format, and follows them while a container runs.
//
// It must not write, rotate or watch: a follower looks at the file as long as
// somebody reads, which costs nothing when nobody does, and needs none of the
// few inotify instances a machine has. It may import nothing but the standard
// library.
package logs
