// Package bpf is what eBPF programs of several features share: C headers that read packets, which each feature compiles
// into its own object, the attaching of packet programs to interfaces, and the tables that outlive a process.
//
// It may import package host, the eBPF and netlink libraries and golang.org/x/sys/unix.
package bpf
