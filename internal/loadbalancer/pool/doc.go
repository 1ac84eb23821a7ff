// Package pool decides which address each Service of type LoadBalancer gets, and why: one pure function over a snapshot
// of the pools and the Services. It keeps to MetalLB's rules, with ties broken by name and by creation time in place of
// the order of events, so that the answer is the same after a restart.
//
// The package is pure: no clock, no I/O, no client, no randomness. It may import the configuration's model, the standard
// library and the Kubernetes API types, nothing else.
package pool
