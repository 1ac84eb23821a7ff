// Package device gives Pods what the device plugins of a node have, as the kubelet's
// device manager does (k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1): a plugin
// registers at a socket in /var/lib/kubelet/device-plugins of the node with a
// resource's name and a socket of its own, lists its devices and their health, and is
// asked when a Pod is to have some of them.
//
// Who has which device is decided by the pure functions of Ledger, and is kept across
// restarts of the server in a file that no Pod sees. What a plugin answered for a
// container is kept as well: a container that is started again gets the same.
//
// All paths of the API are paths on the node, and no link leads out of its root
// directory. The package may import gRPC, host, node/nodesocket and node/plugins; it knows nothing of
// Pods but their UIDs and what their containers ask for.
package device
