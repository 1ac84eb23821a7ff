// Package static runs the Pods whose manifests lie in a directory of the node,
// /etc/kubernetes/manifests, without the API server having any part in it (the
// kubelet's staticPodPath).
//
// It finds out what is to run, and tells the node's workers of Pods; it starts no
// container and writes nothing to the API, where package mirror shows these Pods. Who
// can write the directory is root on the node, but not on the machine: no path leaves
// the node's own tree of files. It may import client-go's types and package host.
package static
