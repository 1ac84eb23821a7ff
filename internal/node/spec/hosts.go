package spec

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// The first line of the file tells people and tools who writes it.
const (
	hostsHeader            = "# Kubernetes-managed hosts file.\n"
	hostsHeaderHostNetwork = "# Kubernetes-managed hosts file (host network).\n"
)

// localEntries are the lines that every hosts file starts with.
const localEntries = "127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::0\tip6-localnet\n" +
	"fe00::0\tip6-mcastprefix\n" +
	"fe00::1\tip6-allnodes\n" +
	"fe00::2\tip6-allrouters\n"

// HostsFile is the content of /etc/hosts in a Pod. nodeHosts is the node's own
// file, which Pods in the node's network namespace see.
func HostsFile(pod *v1.Pod, podIPs []string, clusterDomain, nodeHosts string) string {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		b.WriteString(hostsHeaderHostNetwork)
		b.WriteString(nodeHosts)
	} else {
		b.WriteString(hostsHeader)
		b.WriteString(localEntries)
		hostname, domain := Hostname(pod, clusterDomain)
		for _, ip := range podIPs {
			if domain != "" {
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, hostname, domain, hostname)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, hostname)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.String()
}
