// Package proxy tests `minato proxy` as it is used: the program, on two nodes of a cluster whose control plane is
// upstream's own, with the ServiceAccount of deploy/proxy.yaml. The nodes are network namespaces whose Pods get their
// interfaces from the test, as from any network plugin: routed on one node, behind a bridge on the other. Everything has
// an address of IPv4 and of IPv6.
//
// The tests need root, the binary (MINATO) and its image (IMAGES); `make test-e2e` provides both. They send packets inside of their own
// namespaces only.
package proxy
