// Package loadbalancer tests `minato loadbalancer` as it is used: the program, on three nodes of a cluster whose control
// plane is upstream's own, with the ServiceAccount of deploy/loadbalancer.yaml. The nodes are network namespaces on a
// bridge, each with a Pod, and `minato proxy` serves their Services. Everything has an address of IPv4 and of IPv6.
//
// The tests need root and the binary (MINATO); `make test-e2e` provides both. They send packets inside of their own
// namespaces only.
package loadbalancer
