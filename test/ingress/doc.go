// Package ingress tests `minato ingress` as it is used: the program, twice, in a cluster whose control plane is upstream's
// own, with the ServiceAccount, the user and the arguments of deploy/ingress.yaml. Its Pods and those behind the Ingresses are
// network namespaces on a bridge.
//
// The tests need root and the binary (MINATO); `make test-e2e` provides both. They send packets inside of their own
// namespaces only.
package ingress
