package cluster

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"minato/internal/controlplane"
	"minato/internal/controlplane/access"
	"minato/internal/dns"
	"minato/internal/member"
	agent "minato/internal/node"
	"minato/internal/service/metrics"
	"minato/internal/version"
)

// forReading begins what has no effect if it is changed.
func forReading(remedy string) string {
	return "# This is for reading: it says how the cluster is set up, and is written anew at each\n# start. A change here has no effect; " + remedy + "\n"
}

// infoMap is a ConfigMap in which people look up how a cluster is set up, with the
// name and the keys that kubeadm gives it.
type infoMap struct {
	namespace, name string
	labels          map[string]string
	data            map[string]string
	// settings says that the ConfigMap is acted on: it is made once, and then
	// belongs to the people.
	settings bool
}

// keepInfoMaps makes the ConfigMaps and brings those for reading up to date, after the
// start.
func (s *Server) keepInfoMaps(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.started:
	}
	client, err := kubernetes.NewForConfig(s.control.RESTConfig(access.UserParts))
	if err != nil {
		return fmt.Errorf("connect %s: %w", access.UserParts, err)
	}
	all, err := s.infoMaps()
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := m.ensure(ctx, client); err != nil && ctx.Err() == nil {
			return fmt.Errorf("ConfigMap %s/%s: %w", m.namespace, m.name, err)
		}
	}
	return nil
}

func (m infoMap) ensure(ctx context.Context, client kubernetes.Interface) error {
	objects := client.CoreV1().ConfigMaps(m.namespace)
	have, err := objects.Get(ctx, m.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = objects.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: m.name, Labels: m.labels}, Data: m.data}, metav1.CreateOptions{})
		return err
	}
	if err != nil || m.settings {
		return err
	}
	next := have.DeepCopy()
	if next.Data == nil {
		next.Data = map[string]string{}
	}
	maps.Copy(next.Data, m.data) // others add keys: signatures of bootstrap tokens
	if maps.Equal(next.Data, have.Data) {
		return nil
	}
	_, err = objects.Update(ctx, next, metav1.UpdateOptions{})
	return err
}

func (s *Server) infoMaps() ([]infoMap, error) {
	proxy, err := s.proxyMap()
	if err != nil {
		return nil, err
	}
	kubeadm, err := yaml.Marshal(s.kubeadmConfig())
	if err != nil {
		return nil, err
	}
	kubelet, err := yaml.Marshal(s.kubeletConfig())
	if err != nil {
		return nil, err
	}
	info, err := clientcmd.Write(s.publicConfig())
	if err != nil {
		return nil, err
	}
	out := []infoMap{
		proxy,
		{namespace: metav1.NamespaceSystem, name: "coredns", data: map[string]string{dns.CorefileKey: dns.DefaultCorefile(s.cfg.ClusterDomain)}, settings: true},
		{namespace: metav1.NamespaceSystem, name: "kubeadm-config", data: map[string]string{
			"ClusterConfiguration": forReading("flags of `minato up` set the cluster up.") + string(kubeadm),
		}},
		{namespace: metav1.NamespaceSystem, name: "kubelet-config", data: map[string]string{
			"kubelet": forReading("flags of `minato up` set the cluster up.") + string(kubelet),
		}},
		{namespace: metav1.NamespacePublic, name: "cluster-info", data: map[string]string{"kubeconfig": string(info)}},
	}
	return out, nil
}

// lanServer is the URL of the API server for nodes and other machines.
func (s *Server) lanServer() string {
	return "https://" + netip.AddrPortFrom(s.cfg.Gateways()[0], uint16(s.cfg.APIPort)).String()
}

// publicConfig is what a machine that wants to join needs to know, without any
// credentials.
func (s *Server) publicConfig() clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters[""] = &clientcmdapi.Cluster{Server: s.lanServer(), CertificateAuthorityData: s.control.PKI().CABundle()}
	return *c
}

func (s *Server) proxyMap() (infoMap, error) {
	config, err := yaml.Marshal(map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clusterCIDR":        s.cfg.PodCIDR.String(),
		"clientConnection":   map[string]any{"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf"},
		"healthzBindAddress": member.Anywhere(s.cfg.Gateways(), metrics.HealthPort),
		"metricsBindAddress": member.Anywhere(s.cfg.Gateways(), metrics.Port),
		"mode":               metrics.Mode,
	})
	if err != nil {
		return infoMap{}, err
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["default"] = &clientcmdapi.Cluster{Server: s.lanServer(), CertificateAuthority: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"}
	c.AuthInfos["default"] = &clientcmdapi.AuthInfo{TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token"}
	c.Contexts["default"] = &clientcmdapi.Context{Cluster: "default", Namespace: "default", AuthInfo: "default"}
	c.CurrentContext = "default"
	kubeconfig, err := clientcmd.Write(*c)
	if err != nil {
		return infoMap{}, err
	}
	return infoMap{
		namespace: metav1.NamespaceSystem, name: "kube-proxy", labels: map[string]string{"app": "kube-proxy"},
		data: map[string]string{
			"config.conf": forReading("Services are served in eBPF by every node's own part, which has no settings.") + string(config),
			"kubeconfig.conf": forReading("the parts of this cluster reach the API server in memory; a kube-proxy in a Pod would use this.") +
				string(kubeconfig),
		},
	}, nil
}

// proxyFiles are what kube-proxy's Pods mount from that ConfigMap in other clusters.
func (s *Server) proxyFiles() map[string]string {
	out := map[string]string{}
	if m, err := s.proxyMap(); err == nil { // otherwise the part that writes it says so
		for key, text := range m.data {
			out["/var/lib/kube-proxy/"+key] = text
		}
	}
	return out
}

func (s *Server) kubeadmConfig() map[string]any {
	etcd := map[string]any{"local": map[string]any{"dataDir": s.paths.ControlPlane(s.cfg.Ephemeral) + "/etcd"}}
	if len(s.cfg.EtcdServers) > 0 {
		etcd = map[string]any{"external": map[string]any{
			"endpoints": s.cfg.EtcdServers, "caFile": s.cfg.EtcdCAFile, "certFile": s.cfg.EtcdCertFile, "keyFile": s.cfg.EtcdKeyFile,
		}}
	}
	args := func(part string) []map[string]string {
		var out []map[string]string
		for _, a := range s.control.Arguments(part)[1:] {
			out = append(out, argument(a))
		}
		return out
	}
	return map[string]any{
		"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration",
		"clusterName": s.cfg.Name, "kubernetesVersion": version.Kubernetes,
		"certificatesDir":      s.paths.ControlPlane(s.cfg.Ephemeral) + "/pki",
		"controlPlaneEndpoint": netip.AddrPortFrom(s.cfg.Gateways()[0], uint16(s.cfg.APIPort)).String(),
		"networking": map[string]any{
			"dnsDomain": s.cfg.ClusterDomain, "podSubnet": s.cfg.PodCIDR.String(), "serviceSubnet": s.cfg.ServiceCIDR.String(),
		},
		"etcd":              etcd,
		"apiServer":         map[string]any{"extraArgs": args(controlplane.KubeAPIServer)},
		"controllerManager": map[string]any{"extraArgs": args(controlplane.KubeControllerManager.Name)},
		"scheduler":         map[string]any{"extraArgs": args(controlplane.KubeScheduler.Name)},
	}
}

// argument is a flag in kubeadm's form.
func argument(flag string) map[string]string {
	name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
	return map[string]string{"name": name, "value": value}
}

// kubeletConfig is what the kubelets of all nodes have in common; each node's own file
// and its /configz have the rest.
func (s *Server) kubeletConfig() map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"clusterDomain": s.cfg.ClusterDomain, "clusterDNS": []string{s.cfg.DNSIPs()[0].String()}, "port": agent.DefaultAPIPort,
		"staticPodPath":  "/etc/kubernetes/manifests",
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true}},
		"authorization":  map[string]any{"mode": "Webhook"},
	}
}
