package spec

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// maxHostname is Linux's limit of a host name, without the closing zero byte.
const maxHostname = 63

// Hostname returns a Pod's host name and, where it has a subdomain, the domain
// below which the cluster's DNS knows it.
func Hostname(pod *v1.Pod, clusterDomain string) (hostname, domain string) {
	if o := pod.Spec.HostnameOverride; o != nil {
		return truncate(*o), ""
	}
	hostname = pod.Spec.Hostname
	if hostname == "" {
		hostname = pod.Name
	}
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	return truncate(hostname), domain
}

func truncate(name string) string {
	if len(name) <= maxHostname {
		return name
	}
	// A host name may not end with a dash or a dot.
	return strings.TrimRight(name[:maxHostname], "-.")
}

// kernelHostname is what gethostname answers in the Pod.
func kernelHostname(pod *v1.Pod, clusterDomain string) (string, error) {
	hostname, domain := Hostname(pod, clusterDomain)
	if domain == "" || !isTrue(pod.Spec.SetHostnameAsFQDN) {
		return hostname, nil
	}
	fqdn := hostname + "." + domain
	if len(fqdn) > maxHostname+1 {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)", fqdn, maxHostname+1, len(fqdn))
	}
	return fqdn, nil
}
