// Package storage ends Pods that take more of the node's disk than they may:
// the sizeLimit of an emptyDir, and the limits of containers for
// ephemeral-storage, by kubelet's rules and in its words.
//
// What a Pod takes is measured, then a pure function decides. The package must
// not end a Pod itself: it tells an Evictor. It may import client-go's types,
// the CRI messages, node/guard, node/spec and host.
package storage
