// Package bpf is what eBPF programs of several features share: C headers that read packets, which each feature compiles
// into its own object, and the attaching of packet programs to interfaces.
//
// It may import package host, the netlink library and golang.org/x/sys/unix.
package bpf
