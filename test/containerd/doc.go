// Package containerd runs Debian's containerd for tests: a daemon with directories,
// a socket and a configuration of its own, beside whatever the machine runs.
//
// It needs root's rights, the programs of the packages containerd and runc, and the
// CNI plugin loopback of the package containernetworking-plugins.
package containerd
