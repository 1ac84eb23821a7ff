// Package api serves a node's part of the Kubernetes API, on port 10250: logs,
// exec, attach, port-forward, and what is known of the node and its Pods.
//
// Every request is authenticated (client certificate or bearer token) and
// authorized by asking the API server whether the user may use that part of the
// node. What clients can hold open is bounded: connections, sessions and readers
// of logs. docs/kubelet-api.md compares the paths with the kubelet's.
//
// The package must not change Pods. It may import the CRI messages,
// k8s.io/cri-streaming, k8s.io/apiserver's statusz, host/limit, node/logs and
// node/observe.
package api
