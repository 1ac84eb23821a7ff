// Package member is one node, wherever it is: it is given a network namespace,
// addresses and ranges, a cgroup, directories, a way to connect to an API server
// and an image store, and runs everything that makes a Kubernetes node of them:
// agent, container runtime, Pod network, Service data plane and DNS.
//
// Each of these is a part of its own under package supervise: one that fails is
// started again while the others go on.
//
// It knows no server and no cluster: several members and a control plane are a
// cluster on one machine. It may import features, supervise, host and client-go.
package member
