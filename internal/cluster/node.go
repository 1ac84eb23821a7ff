package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/controlplane/access"
	"minato/internal/controlplane/manifest"
	"minato/internal/host"
	"minato/internal/member"
	agent "minato/internal/node"
	"minato/internal/runtime/registry"
)

// node is one node of the cluster on this machine: a member, made anew each time
// that it fails as a whole.
type node struct {
	server *Server
	spec   NodeSpec
	number int
	name   string
	cancel context.CancelFunc // ends the node
	ended  chan struct{}      // closed when the node has ended

	current atomic.Pointer[member.Member] // nil while there is none

	ready chan struct{} // closed when the Node was Ready for the first time
	once  sync.Once
}

func newNode(s *Server, spec NodeSpec) *node {
	return &node{server: s, spec: spec, number: spec.Number, name: spec.Name, ready: make(chan struct{}), ended: make(chan struct{})}
}

// run puts the node on the LAN and runs it until ctx ends.
func (n *node) run(ctx context.Context) error {
	ns, err := n.server.lan.addNode(n.number)
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	if err := host.MountBPF(n.server.paths.BPF()); err != nil {
		return err
	}
	files, err := n.server.nodeFiles(n.name, ns, n.server.cfg.runtimeEndpoint(n.spec) == "")
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	m, err := member.New(n.config(ns, files))
	if err != nil {
		return err
	}
	n.current.Store(m)
	defer n.current.Store(nil)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-m.Ready():
			n.once.Do(func() { close(n.ready) })
		case <-ended:
		}
	}()
	return m.Run(ctx)
}

func (n *node) config(ns host.Netns, files *host.MountNSConfig) member.Config {
	s := n.server
	return member.Config{
		Taints: n.taints(), Parts: n.parts(), PartsAfter: s.started, PartLogs: s.partLogs,
		InfoFiles: n.infoFiles(), ProxyFiles: s.proxyFiles(),
		DecodePod: func(data []byte, source string) (*corev1.Pod, error) {
			return manifest.Pod(data, source, s.cfg.Name, n.name)
		},
		Name: n.name, Labels: n.spec.Labels, ProviderID: "minato://" + s.cfg.Name + "/" + n.name,
		Netns: ns, Link: nodeLink, MTU: s.lan.mtu,
		Addresses: s.cfg.NodeIPs(n.number), PodCIDRs: s.cfg.NodePodCIDRs(n.number), ServiceCIDRs: s.cfg.ServiceCIDR,
		Gateways: s.cfg.Gateways(), ClusterDNS: s.cfg.DNSIPs(), ClusterDomain: s.cfg.ClusterDomain, ResolvConf: hostResolvConf,
		Files: files, Claim: s.cfg.claim(n.spec).member(), Users: s.config().podUsers(n.number),
		Cgroup:  s.paths.Cgroup().Child(n.name),
		DataDir: s.paths.NodeData(n.name), RunDir: s.paths.NodeRun(n.name), PinDir: filepath.Join(s.paths.BPF(), n.name),
		Cluster: s.cfg.Name, RuntimeEndpoint: s.cfg.runtimeEndpoint(n.spec), CNIRecords: s.paths.CNIRecords(),
		CRISocket: s.paths.CRISocket(n.name), CNISocket: s.paths.CNISocket(n.name),
		BGPSocket: s.paths.BGPSocket(n.name), IngressSocket: s.paths.IngressSocket(n.name), IngressLog: s.paths.IngressLog(n.name),
		Connect: s.control.RESTConfig, Connected: s.control.Ready(), Watch: s.watch, Images: s.images,
		Certificates: n.certificates, Limits: s.limits, AllowedUnsafeSysctls: s.cfg.AllowedUnsafeSysctls, RuntimeHandlers: s.cfg.RuntimeHandlers,
		RaiseLimit: s.lan.sysctls.raise, Gate: s.gate,
		Registries: registry.Config{Path: s.cfg.Registries.Config}, CredentialProviderConfig: s.cfg.Registries.Providers, CredentialProviderBinDir: s.cfg.Registries.ProviderBinDir,
		Kubelet: s.cfg.kubelet(n.spec), RemoveUnusedImages: s.unused.RemoveUnused, EvictionTurn: s.evicting,
		Use: s.use, NodesHere: s.nodesHere,
		Stage: s.progress.stage, Logger: s.log.With("node", n.name),
	}
}

// parts are those of the control plane, on its node.
func (n *node) parts() []agent.Part {
	if n.name != access.ControlPlaneNode {
		return nil
	}
	return n.server.controlParts()
}

// taints are those with which the node registers.
func (n *node) taints() []corev1.Taint {
	if !n.server.cfg.TaintControlPlane || n.name != access.ControlPlaneNode {
		return n.spec.Taints
	}
	return append(slices.Clone(n.spec.Taints), controlPlaneTaint())
}

// certificates returns the serving certificate of the node's API, and the CAs
// that sign the certificates of its clients.
func (n *node) certificates() (tls.Certificate, *x509.CertPool, error) {
	pki := n.server.control.PKI()
	pair, err := pki.NodeServing(n.name, n.server.cfg.NodeIPs(n.number)...)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("serving certificate of %s: %w", n.name, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pki.CABundle()) {
		return tls.Certificate{}, nil, errors.New("the cluster's CA bundle holds no certificate")
	}
	return cert, pool, nil
}

// waitReady returns when the Node has been Ready for the first time.
func (n *node) waitReady(ctx context.Context) error {
	select {
	case <-n.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (n *node) status() NodeStatus {
	st := describeNode(n.server.cfg, n.spec)
	if m := n.current.Load(); m != nil {
		is := m.Status()
		st.Ready, st.Pods, st.Parts = is.Ready, is.Pods, is.Parts
	}
	return st
}

// describeNode is the status of a node as far as the configuration has it.
func describeNode(c Config, n NodeSpec) NodeStatus {
	ips, podCIDRs := c.NodeIPs(n.Number), c.NodePodCIDRs(n.Number)
	return NodeStatus{
		Name: n.Name, IP: ips[0].String(), IPs: ips, PodCIDR: podCIDRs[0].String(), PodCIDRs: podCIDRs,
		Netns: Paths{Name: c.Name}.Netns(n.Number).Name, Labels: n.Labels, Taints: n.Taints, Stopped: n.Stopped,
	}
}
