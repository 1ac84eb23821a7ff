// Package plugins finds the plugins of a node, as the kubelet's plugin watcher does: a
// plugin puts a unix socket into /var/lib/kubelet/plugins_registry of the node, at
// which it says what it is (k8s.io/kubelet/pkg/apis/pluginregistration/v1), and is
// told whether it was taken. What a type of plugin is good for is the matter of the
// Handler that takes it.
//
// Everything is looked up in the node's root directory, and no link leads out of it.
// The package may import gRPC, host and node/nodesocket.
package plugins
