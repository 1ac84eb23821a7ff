package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"minato/internal/host"
	balancing "minato/internal/loadbalancer/config"
)

// addressRoutes keeps the machine's routes to those addresses of Services that
// are not on the LAN, as those of a pool in somebody's own range are: they are
// at the cluster's nodes all the same. Only an address that a pool has gets one,
// whatever a Service's status says.
type addressRoutes struct {
	netns    host.Netns
	link     string
	lan      Ranges
	sources  []netip.Addr // preferred source addresses, one of each IP family
	services cache.SharedIndexInformer
	// serves tells whether a load balancer class is ours.
	serves func(class *string) bool
	// settings are who says which pools there are.
	settings interface {
		Current() (c balancing.Config, known bool)
		Follow(changed func()) (stop func())
	}
	log *slog.Logger

	net    *host.Net
	routes map[netip.Addr]host.Route
	left   map[netip.Addr]bool // without a route, because it would take one from the machine
}

// addressRoutesRetry is how long a failed pass waits for the next.
const addressRoutesRetry = time.Second

// run keeps the routes until ctx ends. They go with the bridge.
func (r *addressRoutes) run(ctx context.Context) (err error) {
	if r.net, err = host.OpenNet(r.netns); err != nil {
		return fmt.Errorf("routes to addresses of Services: %w", err)
	}
	defer r.net.Close()
	r.routes, r.left = map[netip.Addr]host.Route{}, map[netip.Addr]bool{}
	wake := make(chan struct{}, 1)
	notify := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	changed := func(objects ...any) {
		if slices.ContainsFunc(objects, func(o any) bool { return len(r.addresses(o)) > 0 }) {
			notify()
		}
	}
	defer r.settings.Follow(notify)()
	registration, err := r.services.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { changed(o) },
		UpdateFunc: func(was, is any) { changed(was, is) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			changed(o)
		},
	})
	if err != nil {
		return fmt.Errorf("routes to addresses of Services: %w", err)
	}
	defer r.services.RemoveEventHandler(registration)
	for {
		var retry <-chan time.Time
		if err := r.sync(); err != nil {
			r.log.Error("routes to addresses of Services are incomplete", "error", err)
			retry = time.After(addressRoutesRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-retry:
		}
	}
}

// addresses are those of a Service that the machine needs a route for.
func (r *addressRoutes) addresses(o any) []netip.Addr {
	s, ok := o.(*corev1.Service)
	if !ok || s.Spec.Type != corev1.ServiceTypeLoadBalancer || !r.serves(s.Spec.LoadBalancerClass) {
		return nil
	}
	var out []netip.Addr
	for _, in := range s.Status.LoadBalancer.Ingress {
		ip, err := netip.ParseAddr(in.IP)
		if err != nil || slices.ContainsFunc(r.lan, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			continue
		}
		out = append(out, ip)
	}
	return out
}

// sync brings the routes in line with the Services.
func (r *addressRoutes) sync() error {
	cfg, known := r.settings.Current()
	if !known {
		return nil
	}
	pooled := func(ip netip.Addr) bool {
		return slices.ContainsFunc(cfg.Pools, func(p balancing.Pool) bool {
			return slices.ContainsFunc(p.Ranges, func(in balancing.Range) bool { return in.Contains(ip) })
		})
	}
	want := map[netip.Addr]bool{}
	for _, o := range r.services.GetStore().List() {
		for _, ip := range r.addresses(o) {
			if pooled(ip) {
				want[ip] = true
			}
		}
	}
	var errs []error
	for ip, route := range r.routes {
		if !want[ip] {
			if err := r.net.DeleteRoute(route); err != nil {
				errs = append(errs, err)
				continue
			}
			delete(r.routes, ip)
		}
	}
	for ip := range want {
		if _, has := r.routes[ip]; !has {
			errs = append(errs, r.add(ip))
		}
	}
	return errors.Join(errs...)
}

// add makes the route to one address, unless the machine itself has the
// address, or reaches others through it.
func (r *addressRoutes) add(ip netip.Addr) error {
	own, err := r.net.Addresses()
	if err != nil {
		return err
	}
	hops, err := r.net.NextHops()
	if err != nil {
		return err
	}
	if slices.Contains(hops, ip) || slices.ContainsFunc(own, func(a host.LinkAddress) bool { return a.Address == ip }) {
		if !r.left[ip] {
			r.left[ip] = true
			r.log.Warn("an address of a Service is the machine's own or its gateway's, and not reached from this machine; take it out of the pool", "address", ip)
		}
		return nil
	}
	route := host.Route{Dst: netip.PrefixFrom(ip, ip.BitLen()), Link: r.link}
	// The bridge may have addresses besides the cluster's: then the machine is a
	// host of that range, also to Services that let in no others.
	link, source, err := r.net.SourceTo(ip)
	if err != nil {
		return err
	}
	if route.Src = source; link != r.link || !source.IsValid() {
		for _, source := range r.sources {
			if source.BitLen() == ip.BitLen() {
				route.Src = source
			}
		}
	}
	if err := r.net.ReplaceRoute(route); err != nil {
		return err
	}
	r.routes[ip] = route
	return nil
}
