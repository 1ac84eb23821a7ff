package controlplane

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"minato/internal/controlplane/apiserver"
	"minato/internal/controlplane/controllers"
	"minato/internal/controlplane/etcd"
)

// Names of the parts that have no other.
const (
	KubeAPIServer = "kube-apiserver"
	Etcd          = "etcd"
)

// Arguments are a part's effective configuration, as the command line by which
// upstream's program of that name (Etcd, KubeAPIServer, or that of a Component) would
// be started. Paths are those of this machine; nil is a part that there is not.
func (c *ControlPlane) Arguments(part string) []string {
	switch part {
	case Etcd:
		return c.etcdArguments()
	case KubeAPIServer:
		return c.apiServerArguments()
	case controllers.ControllerManager:
		return c.managerArguments()
	case controllers.Scheduler:
		return append([]string{part}, c.serving(KubeScheduler)...)
	}
	return nil
}

func (c *ControlPlane) etcdConfig() etcd.Config {
	return etcd.Config{
		Dir:       filepath.Join(c.cfg.DataDir, "etcd"),
		Socket:    filepath.Join(c.cfg.RunDir, "etcd.sock"),
		Ephemeral: c.cfg.Ephemeral,
		Logger:    c.cfg.Logger.With("component", "etcd"),
	}
}

// storeDir is where the embedded store is; empty where there is none.
func (c *ControlPlane) storeDir() string {
	if len(c.cfg.EtcdServers) > 0 {
		return ""
	}
	return c.etcdConfig().Dir
}

func (c *ControlPlane) etcdArguments() []string {
	if len(c.cfg.EtcdServers) > 0 {
		return nil
	}
	return append([]string{Etcd}, etcd.Flags(c.etcdConfig())...)
}

func (c *ControlPlane) apiServerArguments() []string {
	paths := c.authority.Paths()
	servers := c.cfg.EtcdServers
	if len(servers) == 0 {
		servers = []string{"unix://" + c.etcdConfig().Socket}
	}
	nodePorts := strconv.Itoa(c.cfg.NodePortRange.Base) + "-" + strconv.Itoa(c.cfg.NodePortRange.Base+c.cfg.NodePortRange.Size-1)
	out := []string{
		KubeAPIServer,
		"--advertise-address=" + c.cfg.Addresses[0].String(),
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--client-ca-file=" + paths.CACert,
		"--enable-admission-plugins=NodeRestriction",
		"--enable-aggregator-routing=true",
		"--enable-bootstrap-token-auth=true",
		"--etcd-servers=" + strings.Join(servers, ","),
		"--kubelet-client-certificate=" + paths.KubeletClientCert,
		"--kubelet-client-key=" + paths.KubeletClientKey,
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--proxy-client-cert-file=" + paths.FrontProxyCert,
		"--proxy-client-key-file=" + paths.FrontProxyKey,
		"--requestheader-client-ca-file=" + paths.FrontProxyCACert,
		"--secure-port=" + c.port(),
		"--service-account-issuer=" + apiserver.Issuer(c.cfg.ClusterDomain),
		"--service-account-key-file=" + paths.ServiceAccountPub,
		"--service-account-signing-key-file=" + paths.ServiceAccountKey,
		"--service-cluster-ip-range=" + joined(c.cfg.ServiceCIDRs),
		"--service-node-port-range=" + nodePorts,
	}
	for flag, value := range map[string]string{"cafile": c.cfg.EtcdCAFile, "certfile": c.cfg.EtcdCertFile, "keyfile": c.cfg.EtcdKeyFile} {
		if value != "" {
			out = append(out, "--etcd-"+flag+"="+value)
		}
	}
	slices.Sort(out[1:])
	return out
}

// port is that of the first listener.
func (c *ControlPlane) port() string {
	a, err := netip.ParseAddrPort(c.cfg.Listeners[0].Addr().String())
	if err != nil {
		return "0" // a listener of another kind, which the API server refuses
	}
	return strconv.Itoa(int(a.Port()))
}

func (c *ControlPlane) managerArguments() []string {
	paths := c.authority.Paths()
	out := []string{
		controllers.ControllerManager,
		"--allocate-node-cidrs=true",
		"--cluster-cidr=" + joined(c.cfg.PodCIDRs),
		"--cluster-name=" + c.cfg.Name,
		"--cluster-signing-cert-file=" + paths.CACert,
		"--cluster-signing-key-file=" + paths.CAKey,
		"--controllers=" + strings.Join(controllers.Enabled(), ","),
		"--root-ca-file=" + paths.CACert,
		"--service-account-private-key-file=" + paths.ServiceAccountKey,
		"--service-cluster-ip-range=" + joined(c.cfg.ServiceCIDRs),
		"--use-service-account-credentials=true",
	}
	for _, p := range c.cfg.PodCIDRs {
		family, bits := "-ipv4", c.cfg.NodeCIDRMaskIPv4
		if p.Addr().Is6() {
			family, bits = "-ipv6", c.cfg.NodeCIDRMaskIPv6
		}
		if len(c.cfg.PodCIDRs) == 1 {
			family = ""
		}
		out = append(out, "--node-cidr-mask-size"+family+"="+strconv.Itoa(bits))
	}
	out = append(out, c.serving(KubeControllerManager)...)
	slices.Sort(out[1:])
	return out
}

// serving are the flags about where a component answers. There is one of each, so
// they hold no election.
func (c *ControlPlane) serving(of Component) []string {
	loopback := "127.0.0.1"
	if c.cfg.Addresses[0].Is6() {
		loopback = "::1"
	}
	return []string{"--bind-address=" + loopback, "--leader-elect=false", "--secure-port=" + strconv.Itoa(int(of.Port))}
}

func joined(prefixes []netip.Prefix) string {
	out := make([]string, 0, len(prefixes))
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}
