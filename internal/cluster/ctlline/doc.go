// Package ctlline understands what people type to run etcdctl in the Pod that shows
// etcd: a command line, or a shell's, becomes arguments that are safe to run on the
// machine, or a refusal with its reason.
//
// There is no shell and no file system behind that Pod. The package does no I/O; it
// may import the standard library.
package ctlline
