// Command shell is /bin/sh of the image that stands in for the suite's busybox. It
// runs busybox's shell, whose messages specs compare word by word. Debian's version
// of it drops environment variables whose names are no identifiers, which later
// ones hand on and specs look for: if there are such, it runs bash.
//
// It imports the standard library only.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

func main() {
	program := "/bin/busybox"
	if !identifiers(os.Environ()) {
		program = "/bin/bash"
	}
	// By its own name a busybox knows which of its programs it is, and both shells begin their messages with it.
	err := syscall.Exec(program, os.Args, os.Environ())
	fmt.Fprintf(os.Stderr, "%s: run %s: %v\n", os.Args[0], program, err)
	os.Exit(127)
}

// identifiers reports whether all variables have names that a shell can have variables by.
func identifiers(environment []string) bool {
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		for i, c := range []byte(name) {
			letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
			if !letter && (i == 0 || c < '0' || c > '9') {
				return false
			}
		}
	}
	return true
}
