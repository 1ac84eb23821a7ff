// Package usage reads what a node, its Pods and their containers use: from their
// cgroups where the container runtime tells which they are, and from the
// runtime's own statistics otherwise. A look costs a few reads of files for each
// container and no walk over a disk. Nothing is read before somebody asks.
//
// The package must not know how the figures are served. It may import the CRI's
// types, the names of labels in package spec, and host.
package usage
