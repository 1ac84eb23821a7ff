package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"minato/bench/lab"
)

// The cluster's name and ranges, which are none of Minato's defaults.
const (
	clusterName  = "failover"
	lanCIDR      = "172.26.0.0/16"
	podCIDR      = "10.238.0.0/16"
	serviceCIDR  = "10.90.0.0/16"
	apiPort      = "10443"
	bridge       = "mn-" + clusterName
	namespace    = "default"
	maxServices  = 2000 // their pools have a few more addresses
	servicePort  = 80
	endpointPort = 8080
)

// pools are the systems' ranges of addresses, manyPools those for many Services.
var (
	pools = map[string]netip.Prefix{
		minatoName:  netip.MustParsePrefix("172.26.200.0/28"),
		metallbName: netip.MustParsePrefix("172.26.200.16/28"),
	}
	manyPools = map[string]netip.Prefix{
		minatoName:  netip.MustParsePrefix("172.26.208.0/21"),
		metallbName: netip.MustParsePrefix("172.26.216.0/21"),
	}
)

// cluster is where both systems run, with machines beside it on the LAN.
type cluster struct {
	options
	dir     string // for files of this run
	api     kubernetes.Interface
	objects dynamic.Interface
	client  *machine // makes the load
	prober  *machine // asks who answers for an address
	systems []*system
}

// system is a load balancer and its Service.
type system struct {
	name    string
	class   string // of its Services; none are everybody's
	address netip.Addr
}

const (
	minatoName  = "minato"
	metallbName = "metallb"
)

func newCluster(o options) (*cluster, error) {
	dir, err := os.MkdirTemp("", "minato-failover-")
	if err != nil {
		return nil, err
	}
	c := &cluster{options: o, dir: dir}
	for _, name := range o.systems {
		s := &system{name: name}
		if name == metallbName {
			s.class = metallbClass
		}
		c.systems = append(c.systems, s)
	}
	c.client = &machine{name: clusterName + "-client", link: "mf-client", address: netip.MustParsePrefix("172.26.250.1/16")}
	c.prober = &machine{name: clusterName + "-prober", link: "mf-prober", address: netip.MustParsePrefix("172.26.250.2/16")}
	return c, nil
}

func (c *cluster) machines() []*machine { return []*machine{c.client, c.prober} }

// start brings up the cluster with Pods and Services that both systems serve.
func (c *cluster) start(ctx context.Context, args ...string) error {
	if err := c.clean(ctx); err != nil {
		return err
	}
	lab.Progress("start a cluster of %d nodes", c.nodes)
	args = append(args, "--nodes", strconv.Itoa(c.nodes), "--lan-cidr", lanCIDR, "--pod-cidr", podCIDR, "--service-cidr", serviceCIDR, "--api-port", apiPort)
	if err := c.up(ctx, args...); err != nil {
		return err
	}
	if _, err := c.run(ctx, "image", "load", "--name", clusterName, filepath.Join(c.images, "whoami.tar")); err != nil {
		return err
	}
	for _, s := range c.systems {
		if s.name == metallbName {
			if err := c.installMetalLB(ctx); err != nil {
				return fmt.Errorf("install MetalLB: %w", err)
			}
		}
	}
	if err := c.makePools(ctx); err != nil {
		return err
	}
	if err := c.makePods(ctx); err != nil {
		return err
	}
	for _, m := range c.machines() {
		if err := m.make(ctx); err != nil {
			return err
		}
	}
	for _, s := range c.systems {
		if err := c.makeService(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// up starts the cluster, or starts it again.
func (c *cluster) up(ctx context.Context, args ...string) error {
	kubeconfig := filepath.Join(c.dir, "kubeconfig")
	if _, err := c.run(ctx, append([]string{"up", "--name", clusterName, "--kubeconfig", kubeconfig}, args...)...); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1                           // as fast as the API server
	config.WarningHandler = rest.NoWarnings{} // an announcement comes before its pool
	if c.api, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	c.objects, err = dynamic.NewForConfig(config)
	return err
}

// run runs minato.
func (c *cluster) run(ctx context.Context, args ...string) ([]byte, error) {
	return lab.Command(ctx, nil, c.minato, args...)
}

// apply creates or changes objects.
func (c *cluster) apply(ctx context.Context, manifest []byte) error {
	_, err := lab.Command(ctx, manifest, c.minato, "kubectl", "--name", clusterName, "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

// clean removes the cluster and the machines, also those that a killed run left.
func (c *cluster) clean(ctx context.Context) error {
	var errs []error
	for _, m := range c.machines() {
		errs = append(errs, m.remove(ctx))
	}
	_, err := c.run(ctx, "delete", "--ignore-not-found", "--name", clusterName)
	return errors.Join(append(errs, err)...)
}

func (c *cluster) close(ctx context.Context) error {
	if log, err := os.ReadFile("/var/lib/minato/" + clusterName + "/minato.log"); err == nil {
		_ = os.WriteFile(strings.TrimSuffix(c.out, ".json")+".minato.log", log, 0o600) // a help when something went wrong
	}
	return errors.Join(c.clean(ctx), os.RemoveAll(c.dir))
}

// await polls until done, and then tells what was the matter if it takes too long.
func (c *cluster) await(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	return lab.Await(ctx, what, c.patience, 20*time.Millisecond, done)
}
