package cluster

import (
	"path/filepath"

	"minato/internal/host"
)

// Roots of everything that Minato keeps on a machine.
const (
	dataRoot = "/var/lib/minato"
	runRoot  = "/run/minato"
	// sysctlFile says which settings of the machine clusters have changed.
	sysctlFile = runRoot + "/sysctls.json"
)

// Paths names the files, directories, namespaces, links and cgroups of a
// cluster.
type Paths struct{ Name string }

// Data survives `down`; `delete` removes it.
func (p Paths) Data() string { return filepath.Join(dataRoot, p.Name) }

// Run holds sockets, mounts and pins, and is gone after `down`.
func (p Paths) Run() string { return filepath.Join(runRoot, p.Name) }

// Config is the file that Config.Save writes.
func (p Paths) Config() string { return filepath.Join(p.Data(), "config.json") }

// Kubeconfig is the administrator's kubeconfig, kept beside the data.
func (p Paths) Kubeconfig() string { return filepath.Join(p.Data(), "admin.conf") }

// Given lists the kubeconfigs of people that got the administrator's context.
func (p Paths) Given() string { return filepath.Join(p.Data(), "kubeconfigs") }

// Log is what the server prints.
func (p Paths) Log() string { return filepath.Join(p.Data(), "minato.log") }

// Store is the machine's one content store for all nodes of the cluster.
func (p Paths) Store() string { return filepath.Join(p.Data(), "store") }

// ControlPlane is the directory of etcd's data and the PKI.
func (p Paths) ControlPlane(ephemeral bool) string {
	if ephemeral {
		return filepath.Join(p.Run(), "ephemeral")
	}
	return p.Data()
}

// NodeData is a node's directory that survives `down`.
func (p Paths) NodeData(node string) string { return filepath.Join(p.Data(), "nodes", node) }

// NodeRun is a node's directory of namespaces, mounts and sockets.
func (p Paths) NodeRun(node string) string { return filepath.Join(p.Run(), "nodes", node) }

// MountNS is where a node's mount namespace is pinned.
func (p Paths) MountNS(node string) string { return filepath.Join(p.Run(), "mntns", node) }

// BGPSocket is where the process is reached that speaks BGP for a node, which
// the node does not see.
func (p Paths) BGPSocket(node string) string { return filepath.Join(p.Run(), "bgp", node+".sock") }

// CRISocket is where a node's container runtime is reached, and CNISocket its network
// for other runtimes. The node sees neither: whoever reaches the first is root.
func (p Paths) CRISocket(node string) string { return filepath.Join(p.Run(), "cri", node+".sock") }

// CNISocket is described with CRISocket.
func (p Paths) CNISocket(node string) string { return filepath.Join(p.Run(), "cni", node+".sock") }

// CNIRecords is the directory that tells which node runs a Pod, for the CNI plugin
// of a container runtime that runs those of several nodes.
func (p Paths) CNIRecords() string { return filepath.Join(p.Run(), "cni", "pods") }

// IngressSocket is where the process is reached that serves a node's ingress,
// which the node does not see.
func (p Paths) IngressSocket(node string) string {
	return filepath.Join(p.Run(), "ingress", node+".sock")
}

// IngressLog is the log of the requests to a node's ingress, which the node does
// not see.
func (p Paths) IngressLog(node string) string {
	return filepath.Join(p.Data(), "ingress", node+".log")
}

// EtcdSocket is where the embedded etcd listens.
func (p Paths) EtcdSocket() string { return filepath.Join(p.Run(), "etcd.sock") }

// BPF is where our own BPF file system is mounted.
func (p Paths) BPF() string { return filepath.Join(p.Run(), "bpf") }

// Socket is the server's control socket.
func (p Paths) Socket() string { return filepath.Join(p.Run(), "minato.sock") }

// Lock is held by the server for as long as it runs.
func (p Paths) Lock() string { return filepath.Join(p.Run(), "lock") }

// Netns is the network namespace of node number i. Its name does not depend on
// the node's, so that those of a cluster can be listed.
func (p Paths) Netns(i int) host.Netns { return host.NamedNetns(p.Name + "-" + NodeName(i)) }

// Cgroup holds the cgroups of all nodes.
func (p Paths) Cgroup() host.Cgroup { return host.Cgroup{Path: "minato/" + p.Name} }

// ServerCgroup holds the server and its keeper.
func (p Paths) ServerCgroup() host.Cgroup { return p.Cgroup().Child("server") }

// Bridge is the machine's end of the LAN.
func (p Paths) Bridge() string { return "mn-" + p.Name }

// NATTable is the nftables table that masquerades what leaves the machine.
func (p Paths) NATTable() string { return "minato-" + p.Name }
