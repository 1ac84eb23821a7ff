package cluster

import (
	"encoding/json"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// clientCertificate is where a kubelet's certificate is looked up. The node's own is
// not there: its agent is connected in memory, and a container that reads the node's
// files must not become the node.
const clientCertificate = "/var/lib/kubelet/pki/kubelet-client-current.pem"

// infoFiles are the files in which people look up how a node is set up, by their paths
// on the node. There is no secret in them.
func (n *node) infoFiles() map[string]string {
	out := map[string]string{}
	if text, err := clientcmd.Write(n.kubeletKubeconfig()); err == nil {
		out["/etc/kubernetes/kubelet.conf"] = "# How a kubelet of this node would reach the API server. The node's agent is connected in\n" +
			"# memory instead, and the file with the certificate is not there.\n" + string(text)
	}
	if text, err := json.MarshalIndent(n.networkConfig(), "", "  "); err == nil {
		out["/etc/cni/net.d/10-minato.conflist"] = string(text) + "\n"
	}
	return out
}

func (n *node) kubeletKubeconfig() clientcmdapi.Config {
	name, user := n.server.cfg.Name, "system:node:"+n.name
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: n.server.lanServer(), CertificateAuthorityData: n.server.control.PKI().CABundle()}
	c.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificate: clientCertificate, ClientKey: clientCertificate}
	c.Contexts[user+"@"+name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	c.CurrentContext = user + "@" + name
	return *c
}

// networkConfig says in CNI's form what the node's Pod network is. It is built in, and
// no plugin is called.
func (n *node) networkConfig() map[string]any {
	var ranges [][]map[string]string
	var routes []map[string]string
	for _, p := range n.server.cfg.NodePodCIDRs(n.number) {
		ranges = append(ranges, []map[string]string{{"subnet": p.String()}})
		all := "0.0.0.0/0"
		if p.Addr().Is6() {
			all = "::/0"
		}
		routes = append(routes, map[string]string{"dst": all})
	}
	return map[string]any{
		"cniVersion": "1.0.0", "name": "minato",
		"plugins": []map[string]any{{
			"type": "minato-podnet", "mtu": n.server.lan.mtu, "ipam": map[string]any{"type": "minato-podnet", "ranges": ranges, "routes": routes},
			"comment": "for reading: the Pod network is built into Minato, and no plugin is called",
		}},
	}
}
