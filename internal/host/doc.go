// Package host is how Minato uses the Linux kernel: network namespaces, links,
// routes, cgroups, mounts, sysctls, and sockets that outlive a process.
//
// Everything it makes can be removed again by the function of the opposite
// name, also after a crash half-way, and it is no error to remove something
// twice. It knows nothing of Kubernetes. It may import netlink and x/sys/unix,
// which only a few other packages may.
package host
