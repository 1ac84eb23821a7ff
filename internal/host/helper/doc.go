// Package helper has a program run as a process of its own that outlives this one: the next process finds it at its socket
// and takes it over. What the two say to each other is their business.
//
// The package must know no feature. It may import host.
package helper
