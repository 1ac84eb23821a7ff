// Package remote is a node's container runtime that is a program of its own, such
// as containerd: CRI's RuntimeService and ImageService over the socket at which
// that program serves them.
//
// The program may be the machine's, and serve several nodes, clusters and others
// beside them. So what a node makes there bears labels that say whose it is, and
// a node sees, counts, stops and removes nothing else. The program knows nothing
// of nodes: it runs in the machine's mount and network namespaces. What it is told
// is therefore translated:
//
//   - A hostPath is one of the node's files. It is mounted below the node's run
//     directory, which the machine shows as well, and the program gets that path.
//   - A Pod on the node's network is a Pod with a network of its own to the
//     program, which the CNI plugin replaces by the node's before anything runs.
//   - The cgroups of Pods are made here, as the kubelet makes them.
//
// A runtime that can't do what a Pod asks for would ignore what it doesn't know of
// the CRI. Such Pods are refused here, with the field and the remedy.
//
// The package may import host, runtime/oci for what cgroups and events need,
// runtime/image for the policy of images, gRPC, the CRI's types and client-go's
// streams. It must not know the node's agent.
package remote
