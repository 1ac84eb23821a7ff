// Package host is Minato's door to the Linux kernel: network namespaces,
// links, routes, cgroups, mounts, sysctls, and sockets that outlive a process.
//
// Everything it makes can be removed again by the function of the opposite
// name, also after a crash half-way, and removing twice is fine. It knows
// nothing of Kubernetes. It may import netlink and x/sys/unix; nearly nobody
// else may.
package host
