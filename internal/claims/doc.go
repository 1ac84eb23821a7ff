// Package claims gives claims to StorageClasses of the provisioner
// minato.local/directory what they ask for: a directory of the node that the
// scheduler selects for the first Pod, as a PersistentVolume of type local.
//
// [Node] is a node's part: it makes and removes the directories of its own node,
// and writes the PersistentVolumes for them, so it works wherever the node is.
// [Controller] is what a cluster has once: it makes the StorageClass standard, and
// tells of claims that no node can take. What is to be done is decided in plan.
//
// Containers write to the directories. So nothing in them is ever followed by a
// path: they are made and removed by names below an open directory.
//
// The package mounts nothing: that is the node agent's work. It may import
// client-go and host.
package claims
