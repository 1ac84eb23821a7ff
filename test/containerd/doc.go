// Package containerd runs Debian's containerd on a node of a cluster, beside
// Minato's runtime, and looks whether its containers have the node's Pod network
// by the CNI plugin.
//
// The test needs root's rights, the binary that MINATO names, the images that
// IMAGES names, and the programs of Debian's packages containerd and
// containernetworking-plugins, in PATH and /usr/lib/cni or where CONTAINERD and
// LOOPBACK say; without them it is skipped.
package containerd
