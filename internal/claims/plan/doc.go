// Package plan decides what becomes of the claims to directories of nodes, and of
// the PersistentVolumes that were made for them. It is pure: no I/O, no clock, no
// client.
package plan
