package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"minato/test/containerd"
)

// part is a part of the specs, which are run one part after the other.
type part struct {
	name   string
	labels string // Ginkgo's filter
	serial bool
}

// parts are what is run, in this order.
var parts = []part{{name: "parallel", labels: "!Serial"}, {name: "serial", labels: "Serial", serial: true}}

// What Ginkgo writes of a part, and what the specs print.
func (p part) reportFile() string { return "report-" + p.name + ".json" }
func (p part) junitFile() string  { return "junit-" + p.name + ".xml" }
func (p part) logFile() string    { return "specs-" + p.name + ".log" }

// cluster is the one that the specs run against.
type cluster struct {
	options
	gateways []netip.Addr // the machine's addresses on the LAN
	outside  outside
	registry *imageRegistry // none if the real images are pulled
	daemon   *containerd.Daemon
}

func newCluster(o options) (*cluster, error) {
	c := &cluster{options: o, outside: outside{name: "outside-" + o.name, link: "mo-" + o.name, ipv6: o.family != "ipv4"}}
	var err error
	if c.lan, err = ofFamily(o.family, o.lan); err != nil {
		return nil, fmt.Errorf("-lan-cidr: %w", err)
	}
	if c.pods, err = ofFamily(o.family, o.pods); err != nil {
		return nil, fmt.Errorf("-pod-cidr: %w", err)
	}
	if c.services, err = ofFamily(o.family, o.services); err != nil {
		return nil, fmt.Errorf("-service-cidr: %w", err)
	}
	for text := range strings.SplitSeq(c.lan, ",") {
		p := netip.MustParsePrefix(text)
		if err := outsideOf(p); err != nil {
			return nil, fmt.Errorf("-lan-cidr: %w", err)
		}
		c.gateways = append(c.gateways, p.Masked().Addr().Next())
	}
	return c, nil
}

// ofFamily picks from a list of ranges those of the cluster's families.
func ofFamily(family, list string) (string, error) {
	var out []string
	for text := range strings.SplitSeq(list, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return "", err
		}
		if is4 := p.Addr().Is4(); family == "dual" || family == "ipv4" && is4 || family == "ipv6" && !is4 {
			out = append(out, p.String())
		}
	}
	if len(out) == 0 {
		return "", fmt.Errorf("%s has no range for a cluster with -ip-family %s", list, family)
	}
	return strings.Join(out, ","), nil
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.out, "kubeconfig") }

// repoList tells the suite where images are.
func (c *cluster) repoList() string { return filepath.Join(c.out, "registries.yaml") }

// start brings up a cluster with the images and the clients' namespace.
func (c *cluster) start(ctx context.Context) error {
	if err := c.remove(ctx); err != nil { // what a killed run left
		return err
	}
	progress("start cluster %s with %d nodes", c.name, c.nodes)
	if c.containerd {
		if err := c.startContainerd(ctx); err != nil {
			return err
		}
	}
	args := []string{
		"up", "--name", c.name, "--nodes", strconv.Itoa(c.nodes), "--ephemeral", "--ip-family", c.family,
		"--lan-cidr", c.lan, "--pod-cidr", c.pods, "--service-cidr", c.services, "--api-port", strconv.Itoa(c.port), "--kubeconfig", c.kubeconfig(),
	}
	if c.endpoint != "" {
		args = append(args, "--container-runtime-endpoint", c.endpoint)
	}
	if err := c.do(ctx, args...); err != nil {
		return err
	}
	if err := c.serverOnLAN(); err != nil {
		return err
	}
	if err := c.zones(ctx); err != nil {
		return err
	}
	if !c.realImages {
		progress("put the images into a registry")
		var err error
		if c.registry, err = serveImages(ctx, c.images, filepath.Join(c.out, "registry"), c.recipes()); err != nil {
			return err
		}
		if err := os.WriteFile(c.repoList(), c.registry.list(), 0o644); err != nil {
			return err
		}
	}
	if c.csi {
		if err := c.deployDriver(ctx); err != nil {
			return err
		}
	}
	return c.outside.make(ctx)
}

// startContainerd runs a containerd with the image of its sandboxes and the Pod
// network of clusters.
func (c *cluster) startContainerd(ctx context.Context) error {
	var err error
	if c.daemon, err = containerd.New("/run/mt-" + c.name + "-containerd"); err != nil {
		return err
	}
	if err := c.daemon.Start(ctx); err != nil {
		return err
	}
	if err := c.daemon.Import(ctx, filepath.Join(c.images, "pause.tar")); err != nil {
		return err
	}
	c.endpoint = c.daemon.Endpoint()
	return c.do(ctx, "cni", "install", "--container-runtime-endpoint", c.endpoint)
}

// serverOnLAN makes the kubeconfig one for the clients' namespace, to which the
// loopback's address means nothing.
func (c *cluster) serverOnLAN() error {
	config, err := clientcmd.LoadFromFile(c.kubeconfig())
	if err != nil {
		return err
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + net.JoinHostPort(c.gateways[0].String(), strconv.Itoa(c.port))
	}
	return clientcmd.WriteToFile(*config, c.kubeconfig())
}

// zones spreads the nodes over three zones: specs about traffic between zones skip
// themselves where there are fewer, and some where a zone has one node only.
func (c *cluster) zones(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i, node := range nodes.Items {
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"zone-%d"}}}`, corev1.LabelTopologyZone, i%3+1)
		if _, err := client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// runSpecs returns an error if the specs could not be run; which of them failed is in the report.
func (c *cluster) runSpecs(ctx context.Context, p part) error {
	for _, old := range []string{p.reportFile(), p.junitFile()} {
		if err := os.Remove(filepath.Join(c.out, old)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	log, err := os.Create(filepath.Join(c.out, p.logFile()))
	if err != nil {
		return err
	}
	defer log.Close()
	progress("run the %s specs that match %q; what they print goes to %s", p.name, c.focus, log.Name())
	args := append([]string{"netns", "exec", c.outside.name}, c.ginkgoArgs(p)...)
	const grace = time.Minute // for the specs' own cleaning, and for the reports
	ctx, cancel := context.WithTimeout(ctx, c.timeout+grace)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig())
	if c.registry != nil {
		cmd.Env = append(cmd.Env, "KUBE_TEST_REPO_LIST="+c.repoList())
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = grace
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return nil // specs failed
	}
	return errors.Join(err, ctx.Err())
}

func (c *cluster) ginkgoArgs(p part) []string {
	procs := c.procs
	if p.serial {
		procs = 1
	}
	args := []string{
		filepath.Join(c.out, ginkgo), "--no-color", fmt.Sprintf("--procs=%d", procs), "--timeout=" + c.timeout.String(),
		"--focus=" + c.focus, "--label-filter=" + p.labels,
		"--output-dir=" + c.out, "--json-report=" + p.reportFile(), "--junit-report=" + p.junitFile(),
	}
	if c.skip != "" {
		args = append(args, "--skip="+c.skip)
	}
	args = append(args, filepath.Join(c.out, suite), "--", "-kubeconfig="+c.kubeconfig(), "-provider=skeleton",
		"-num-nodes="+strconv.Itoa(c.nodes), // specs that need several nodes skip themselves without it
		"-kubectl-path="+filepath.Join(c.out, kubectl), "-report-dir=")
	if c.csi {
		args = append(args, "-storage.testdriver="+c.driver)
	}
	return args
}

// remove deletes everything that start makes, and keeps the server's log.
func (c *cluster) remove(ctx context.Context) error {
	if log, err := os.ReadFile(filepath.Join("/var/lib/minato", c.name, "minato.log")); err == nil {
		if err := os.WriteFile(filepath.Join(c.out, "minato.log"), log, 0o600); err != nil {
			return err
		}
	}
	var err error
	if c.registry != nil {
		err = c.registry.Close()
	}
	err = errors.Join(err, c.outside.remove(ctx), c.do(ctx, "delete", "--ignore-not-found", "--name", c.name))
	if c.daemon != nil {
		err = errors.Join(err, c.daemon.Remove())
	}
	return err
}

func (c *cluster) do(ctx context.Context, args ...string) error {
	return command(ctx, c.minato, args...)
}

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
