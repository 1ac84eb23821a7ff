// Package oci runs containers: CRI's RuntimeService over crun or runc, each
// container under a conmon.
//
// A pod sandbox is a set of namespaces pinned by bind mounts; there is no pause
// process, except for pods that share their process namespace. conmon holds a
// container's output and exit code, so that containers outlive this process:
// [New] finds them again.
//
// Every process of a node lives below the node's cgroup, in
//
//	<node>/pod<UID>/<container ID>   the container
//	<node>/conmon                    every conmon, and runtime commands
//
// in cgroup2 and in all version 1 hierarchies, before it runs the first
// instruction of the image: programs that are attached to the node's cgroup2
// directory see all of its sockets.
//
// The cgroup of a Pod has the Pod's CPU weight, limits and number of processes,
// as the kubelet sets them.
//
// What CRI asks for is given or refused. What a container can write is never
// followed by path: root opens it below a directory that it holds open.
//
// The pod network is somebody else's, behind [Network]. The package may import
// host, runtime/image, x/sys/unix and the libraries of containerd, moby and
// opencontainers, and no Kubernetes but the CRI types.
package oci
