// Package cni is the Pod network of a node as a CNI plugin (the Container Network
// Interface, versions 1.0.0 and 1.1.0), for container runtimes that are not
// Minato's.
//
// The network belongs to the node's server, which knows the free addresses and
// attaches programs to each interface. So the plugin, [Run], decides nothing: it
// reads what the specification gives it, and hands the request to the [Server] of
// its node over a unix socket that only root may use. It opens the namespace
// itself and sends the descriptor, since the path need not mean the same to the
// server, which may see other mounts.
//
// What the specification has and this plugin can't do is refused by name. It may
// import podnet and host.
package cni
