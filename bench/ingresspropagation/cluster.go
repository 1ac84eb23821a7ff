package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"minato/bench/lab"
)

// proxyPort is where a node's proxy serves plain HTTP.
const proxyPort = 10080

// cluster has the routes, and servers beside it on the machine.
type cluster struct {
	options
	dir     string // for files of this run
	api     kubernetes.Interface
	servers map[string]*server // by name
	proxies []*client          // one for each node
	routes  int                // that there are
}

func newCluster(o options) (*cluster, error) {
	dir, err := os.MkdirTemp("", "minato-propagation-")
	if err != nil {
		return nil, err
	}
	return &cluster{options: o, dir: dir, servers: map[string]*server{}}, nil
}

// start brings up the cluster and the servers, with the Services that lead to them.
func (c *cluster) start(ctx context.Context) error {
	if err := c.run(ctx, "delete", "--ignore-not-found", "--name", c.name); err != nil {
		return err
	}
	lab.Progress("start a cluster of %d nodes", c.nodes)
	kubeconfig := filepath.Join(c.dir, "kubeconfig")
	args := []string{
		"up", "--name", c.name, "--kubeconfig", kubeconfig, "--nodes", strconv.Itoa(c.nodes),
		"--lan-cidr", c.lan, "--pod-cidr", c.pods, "--service-cidr", c.serviceIPs, "--api-port", c.port,
	}
	if !c.disk {
		args = append(args, "--ephemeral")
	}
	if err := c.run(ctx, args...); err != nil {
		return err
	}
	var err error
	if c.api, err = lab.Connect(kubeconfig); err != nil {
		return err
	}
	if err := c.startServers(); err != nil {
		return err
	}
	if err := c.findProxies(ctx); err != nil {
		return err
	}
	if err := c.makeService(ctx, spareService, second); err != nil {
		return err
	}
	return lab.Each(ctx, 0, c.services, func(ctx context.Context, i int) error { return c.makeService(ctx, serviceName(i), first) })
}

// startServers has both servers listen at the machine's address on the cluster's LAN.
func (c *cluster) startServers() error {
	link, err := net.InterfaceByName("mn-" + c.name)
	if err != nil {
		return fmt.Errorf("find the cluster's bridge: %w", err)
	}
	addresses, err := link.Addrs()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
			for _, name := range []string{first, second} {
				if c.servers[name], err = newServer(name, prefix.Addr()); err != nil {
					delete(c.servers, name)
					return err
				}
			}
			return nil
		}
	}
	return fmt.Errorf("%s has no IPv4 address", link.Name)
}

// findProxies finds the addresses of the nodes.
func (c *cluster) findProxies(ctx context.Context) error {
	nodes, err := c.api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range nodes.Items {
		for _, a := range nodes.Items[i].Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); a.Type == corev1.NodeInternalIP && err == nil {
				c.proxies = append(c.proxies, &client{address: netip.AddrPortFrom(ip, proxyPort)})
				break
			}
		}
	}
	if len(c.proxies) != c.nodes {
		return fmt.Errorf("%d of %d nodes have an address", len(c.proxies), c.nodes)
	}
	return nil
}

// run runs minato.
func (c *cluster) run(ctx context.Context, args ...string) error {
	_, err := lab.Command(ctx, nil, c.minato, args...)
	return err
}

// close removes all that was made.
func (c *cluster) close(ctx context.Context) error {
	for _, p := range c.proxies {
		p.close()
	}
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.close())
	}
	if log, err := os.ReadFile("/var/lib/minato/" + c.name + "/minato.log"); err == nil {
		_ = os.WriteFile(strings.TrimSuffix(c.out, ".json")+".minato.log", log, 0o600) // a help when something went wrong
	}
	errs = append(errs, c.run(ctx, "delete", "--ignore-not-found", "--name", c.name), os.RemoveAll(c.dir))
	return errors.Join(errs...)
}
