package podnet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"minato/internal/host"
)

// Peer is a node that has Pods: they are reached through its address of their
// IP family.
type Peer struct {
	Name      string
	Addresses []netip.Addr
	PodCIDRs  []netip.Prefix
}

// PeerOf reads a peer from its Node object; ok is false while the Node has no
// internal address or Pod range.
func PeerOf(node *corev1.Node) (p Peer, ok bool) {
	p.Name = node.Name
	for _, a := range node.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP && !like(p.Addresses, ip).IsValid() {
			p.Addresses = append(p.Addresses, ip)
		}
	}
	for _, cidr := range node.Spec.PodCIDRs {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			p.PodCIDRs = append(p.PodCIDRs, prefix.Masked())
		}
	}
	return p, len(p.Addresses) > 0 && len(p.PodCIDRs) > 0
}

// like is the first of the addresses that is of the same family as ip.
func like(addresses []netip.Addr, ip netip.Addr) netip.Addr {
	for _, a := range addresses {
		if a.BitLen() == ip.BitLen() {
			return a
		}
	}
	return netip.Addr{}
}

// RouterConfig says which routes are kept, and where.
type RouterConfig struct {
	Netns   host.Netns
	Link    string       // the LAN
	Self    string       // name of the node, whose own ranges need no route; empty for the machine
	Sources []netip.Addr // preferred source addresses of the routes, one of each IP family
	Nodes   cache.SharedIndexInformer
	Logger  *slog.Logger
}

// Router keeps one route per Pod range of every other node.
type Router struct {
	cfg    RouterConfig
	net    *host.Net
	routes map[netip.Prefix]host.Route
	wake   chan struct{}
}

// NewRouter returns a Router that does nothing until Run.
func NewRouter(cfg RouterConfig) *Router {
	return &Router{cfg: cfg, routes: map[netip.Prefix]host.Route{}, wake: make(chan struct{}, 1)}
}

func (r *Router) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// notifyIfMoved starts no pass for updates that change neither addresses nor
// Pod ranges, as heartbeats and so nearly all updates of Nodes do not.
func (r *Router) notifyIfMoved(old, new any) {
	a, aok := PeerOf(old.(*corev1.Node))
	b, bok := PeerOf(new.(*corev1.Node))
	if aok != bok || !slices.Equal(a.Addresses, b.Addresses) || !slices.Equal(a.PodCIDRs, b.PodCIDRs) {
		r.notify()
	}
}

// retryAfter is how long a failed pass waits for the next.
const retryAfter = time.Second

// Run keeps the routes until ctx ends; the routes stay.
func (r *Router) Run(ctx context.Context) error {
	var err error
	if r.net, err = host.OpenNet(r.cfg.Netns); err != nil {
		return fmt.Errorf("routes between nodes: %w", err)
	}
	defer r.net.Close()
	registration, err := r.cfg.Nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { r.notify() },
		UpdateFunc: func(old, new any) { r.notifyIfMoved(old, new) },
		DeleteFunc: func(any) { r.notify() },
	})
	if err != nil {
		return fmt.Errorf("routes between nodes: %w", err)
	}
	defer r.cfg.Nodes.RemoveEventHandler(registration)
	for {
		var retry <-chan time.Time
		if err := r.sync(); err != nil {
			r.cfg.Logger.Error("routes between nodes are incomplete", "node", r.cfg.Self, "err", err)
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-retry:
		}
	}
}

func (r *Router) sync() error {
	want := map[netip.Prefix]host.Route{}
	for _, obj := range r.cfg.Nodes.GetStore().List() {
		peer, ok := PeerOf(obj.(*corev1.Node))
		if !ok || peer.Name == r.cfg.Self {
			continue
		}
		for _, cidr := range peer.PodCIDRs {
			if via := like(peer.Addresses, cidr.Addr()); via.IsValid() {
				want[cidr] = host.Route{Dst: cidr, Via: via, Link: r.cfg.Link, Src: like(r.cfg.Sources, via)}
			}
		}
	}
	for dst, route := range want {
		if r.routes[dst] == route {
			continue
		}
		if err := r.net.ReplaceRoute(route); err != nil {
			return err
		}
		r.routes[dst] = route
	}
	for dst, route := range r.routes {
		if _, ok := want[dst]; ok {
			continue
		}
		if err := r.net.DeleteRoute(route); err != nil {
			return err
		}
		delete(r.routes, dst)
	}
	return nil
}
