package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"minato/internal/dns"
	"minato/internal/host"
	"minato/internal/podnet"
	"minato/internal/runtime/oci"
	"minato/internal/service"
	"minato/internal/service/dataplane"
	"minato/internal/service/health"
	"minato/internal/service/metrics"
)

// node is one node of the cluster and the parts that run on it.
type node struct {
	server *Server
	number int
	name   string
	ips    []netip.Addr // one of each family, the primary one first
	log    *slog.Logger

	netns    host.Netns
	data     *dataplane.DataPlane
	pods     *podnet.Network
	runtime  *oci.Runtime
	dns      *dns.Server
	services *service.Controller

	dnsUnkept []syscall.Conn // those of the DNS server that end with this process so far

	ready chan struct{} // closed when the Node object is Ready
	isUp  atomic.Bool
}

func newNode(s *Server, number int) *node {
	name := NodeName(number)
	return &node{
		server: s, number: number, name: name, ips: s.cfg.NodeIPs(number),
		log: s.log.With("node", name), ready: make(chan struct{}),
	}
}

// run makes the node, joins it to the cluster and blocks until ctx ends.
func (n *node) run(ctx context.Context) error {
	began := time.Now()
	if err := n.prepare(ctx); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	defer n.pods.Close()
	n.server.progress.stage(n.name+" namespace, programs", began)
	select {
	case <-n.server.control.Ready():
	case <-ctx.Done():
		return nil
	}
	parts, err := n.parts(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range parts {
		g.Go(func() error { return run(ctx) })
	}
	err = g.Wait()
	if n.server.stopPods.Load() {
		err = errors.Join(err, n.endPods())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	return n.data.Close()
}

// prepare does everything that needs no API server.
func (n *node) prepare(ctx context.Context) error {
	cfg, paths := n.server.cfg, n.server.paths
	var err error
	if n.netns, err = n.server.lan.addNode(n.number); err != nil {
		return err
	}
	if err := host.MountBPF(paths.BPF()); err != nil {
		return err
	}
	cgroup := paths.Cgroup().Child(n.name)
	if err := cgroup.Create(); err != nil {
		return err
	}
	n.data, err = dataplane.New(dataplane.Config{
		Netns: n.netns, Cgroup: cgroup, PinDir: filepath.Join(paths.BPF(), n.name),
		Uplinks: []string{nodeLink}, NodeName: n.name,
		NodeIPs: n.ips, ServiceCIDRs: cfg.ServiceCIDR,
		Logger: n.log.With("part", "service"),
	})
	if err != nil {
		return err
	}
	if err := n.data.Open(ctx); err != nil {
		return err
	}
	n.pods, err = podnet.New(podnet.Config{
		Netns: n.netns, NodeIPs: n.ips, PodCIDRs: cfg.NodePodCIDRs(n.number), MTU: n.server.lan.mtu,
		Dir: filepath.Join(paths.NodeRun(n.name), "addresses"), OnAttach: n.data.AttachPod,
	})
	if err != nil {
		return err
	}
	if err := n.attachOldPods(); err != nil {
		return err
	}
	n.runtime, err = oci.New(oci.Config{
		NodeName: n.name, Dir: filepath.Join(paths.NodeData(n.name), "containers"), RunDir: filepath.Join(paths.NodeRun(n.name), "containers"),
		Store: n.server.shared.images, Cgroup: cgroup, Network: podNetwork{n}, NodeNetns: n.netns,
		Logger: n.log.With("part", "runtime"),
	})
	if err != nil {
		return err
	}
	return n.openDNS(ctx)
}

// attachOldPods puts the programs of this process on the links of Pods that
// outlived the last one.
func (n *node) attachOldPods() error {
	links, err := n.pods.Links()
	for _, link := range links {
		err = errors.Join(err, n.data.AttachPod(link))
	}
	return err
}

// dnsPort is where a node's DNS server answers on the node's addresses.
const dnsPort = 53

func (n *node) openDNS(ctx context.Context) error {
	streams, packets, err := n.dnsSockets(ctx)
	if err != nil {
		return err
	}
	var self []netip.AddrPort
	for _, ip := range n.server.cfg.DNSIPs() {
		self = append(self, netip.AddrPortFrom(ip, dnsPort))
	}
	// Other names are asked for from the machine's own namespace, where its
	// resolver may well be on the loopback interface.
	n.dns, err = dns.NewServer(dns.ServerConfig{
		Source: n.server.shared.zone, Domain: n.server.cfg.ClusterDomain,
		Listeners: streams, PacketConns: packets,
		Upstreams: dns.ResolvConf(hostResolvConf), Search: dns.ResolvSearch(hostResolvConf),
		Settings: n.server.shared.dns,
		Self:     self,
		Logger:   n.log.With("part", "dns"),
	})
	return err
}

// hostResolvConf is the machine's own, which names that are not the cluster's
// are looked up by.
const hostResolvConf = "/etc/resolv.conf"

// parts are the functions that run the node for as long as it is up.
func (n *node) parts(ctx context.Context) ([]func(context.Context) error, error) {
	shared, cfg := n.server.shared, n.server.cfg
	router, err := podnet.NewRouter(podnet.RouterConfig{
		Netns: n.netns, Link: nodeLink, Self: n.name, Sources: n.ips,
		Nodes: shared.informers.Core().V1().Nodes().Informer(), Logger: n.log.With("part", "podnet"),
	})
	if err != nil {
		return nil, err
	}
	checks, err := health.New(health.Config{
		Listen: n.netns.Listen, Healthy: func() bool { return n.services.Healthy() }, Logger: n.log.With("part", "service"),
	})
	if err != nil {
		return nil, err
	}
	figures, err := metrics.New(metrics.Config{
		Source: n.data, Listen: n.netns.Listen, Address: n.ips[0],
		Healthy: func() bool { return n.services.Healthy() }, Logger: n.log.With("part", "service"),
	})
	if err != nil {
		return nil, err
	}
	n.services, err = service.New(service.Config{
		NodeName: n.name, DataPlane: n.data, Health: checks, Observer: figures,
		Objects: shared.services, Nodes: shared.informers.Core().V1().Nodes(),
		Logger: n.log.With("part", "service"),
	})
	if err != nil {
		return nil, err
	}
	registration, err := dns.NewRegistration(dns.RegistrationConfig{
		Client: shared.client, NodeName: n.name, NodeIPs: n.ips, Port: dnsPort, MetricsPort: dnsMetricsPort,
		ServiceIPs: cfg.DNSIPs(), Ready: shared.zone.Ready(), Logger: n.log.With("part", "dns"),
	})
	if err != nil {
		return nil, err
	}
	agent, err := n.newAgent(ctx)
	if err != nil {
		return nil, err
	}
	return []func(context.Context) error{
		router.Run, n.data.Run, n.services.Run, checks.Run, figures.Run, n.runtime.Run, n.runDNS, n.keepDNS, n.serveDNSEndpoints, registration.Run, agent.Run,
		func(ctx context.Context) error {
			select {
			case <-agent.Ready():
				n.isUp.Store(true)
				close(n.ready)
			case <-ctx.Done():
			}
			return nil
		},
	}, nil
}

// waitReady returns when the Node is Ready.
func (n *node) waitReady(ctx context.Context) error {
	select {
	case <-n.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// waitDNS returns when a client on the node gets an answer from each cluster
// DNS address, by way of the Service.
func (n *node) waitDNS(ctx context.Context) error {
	q := new(mdns.Msg)
	q.SetQuestion("kubernetes.default.svc."+n.server.cfg.ClusterDomain+".", mdns.TypeA)
	if n.ips[0].Is6() {
		q.Question[0].Qtype = mdns.TypeAAAA
	}
	for _, ip := range n.server.cfg.DNSIPs() {
		if err := n.waitAnswer(ctx, netip.AddrPortFrom(ip, dnsPort).String(), q); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) waitAnswer(ctx context.Context, address string, q *mdns.Msg) error {
	pause := time.Millisecond
	for {
		if n.askDNS(ctx, address, q) == nil {
			return nil
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 20*time.Millisecond)
		case <-ctx.Done():
			return fmt.Errorf("%s: the cluster DNS does not answer on %s: %w", n.name, address, context.Cause(ctx))
		}
	}
}

// askDNS makes one try, short because a packet that comes before its Service
// is programmed is dropped.
func (n *node) askDNS(ctx context.Context, address string, q *mdns.Msg) error {
	conn, err := n.netns.DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := mdns.Client{Timeout: 50 * time.Millisecond}
	answer, _, err := client.ExchangeWithConnContext(ctx, q, &mdns.Conn{Conn: conn})
	if err != nil {
		return err
	}
	if answer.Rcode != mdns.RcodeSuccess || len(answer.Answer) == 0 {
		return fmt.Errorf("%s: %s without an answer", address, mdns.RcodeToString[answer.Rcode])
	}
	return nil
}

func (n *node) status() NodeStatus {
	podCIDRs := n.server.cfg.NodePodCIDRs(n.number)
	st := NodeStatus{
		Name: n.name, IP: n.ips[0].String(), IPs: n.ips, PodCIDR: podCIDRs[0].String(), PodCIDRs: podCIDRs,
		Netns: n.server.paths.Netns(n.name).Name, Ready: n.isUp.Load(),
	}
	if st.Ready {
		if links, err := n.pods.Links(); err == nil {
			st.Pods = len(links)
		}
	}
	return st
}

// podNetwork is podnet as the runtime wants it.
type podNetwork struct{ n *node }

// Attach gives a sandbox its interface and addresses.
func (p podNetwork) Attach(ctx context.Context, sb oci.SandboxInfo) ([]netip.Addr, error) {
	return p.n.pods.Attach(ctx, sb.ID, sb.NetnsPath)
}

// Detach takes them away.
func (p podNetwork) Detach(ctx context.Context, sb oci.SandboxInfo) error {
	return p.n.pods.Detach(ctx, sb.ID)
}
