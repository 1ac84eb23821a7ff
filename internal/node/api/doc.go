// Package api serves a node's part of the Kubernetes API, on port 10250: logs,
// exec, attach, port-forward, and what is known of the node's Pods.
//
// Every request is authenticated (client certificate or bearer token) and
// authorized by asking the API server whether the user may use that part of the
// node. The package must not change Pods. It may import the CRI messages,
// k8s.io/cri-streaming, node/logs and node/observe.
package api
