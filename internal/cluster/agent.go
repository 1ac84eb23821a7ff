package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"

	agent "minato/internal/node"
	"minato/internal/runtime/image"
	"minato/internal/runtime/oci"
	"minato/internal/version"
)

// newAgent puts the node's agent on top of its runtime.
func (n *node) newAgent(ctx context.Context) (*agent.Agent, error) {
	shared, cfg, paths := n.server.shared, n.server.cfg, n.server.paths
	client, err := kubernetes.NewForConfig(shared.connect("system:node:"+n.name, "system:nodes"))
	if err != nil {
		return nil, fmt.Errorf("connect the node agent: %w", err)
	}
	images, err := image.NewService(image.ServiceConfig{Store: shared.images, Logger: n.log.With("part", "images")})
	if err != nil {
		return nil, err
	}
	cert, cas, err := n.servingCert()
	if err != nil {
		return nil, err
	}
	capacity, err := machineCapacity()
	if err != nil {
		return nil, err
	}
	services := shared.informers.Core().V1().Services()
	return agent.New(agent.Config{
		Name:           n.name,
		Addresses:      n.ips,
		PodCIDRs:       cfg.NodePodCIDRs(n.number),
		ProviderID:     "minato://" + cfg.Name + "/" + n.name,
		Client:         client,
		Services:       services.Lister(),
		ServicesSynced: services.Informer().HasSynced,
		Runtime:        n.runtime,
		Images:         images,
		Streaming:      n.runtime.Streams(),
		Events:         containerEvents(ctx, n.runtime.Events(ctx)),
		Netns:          n.netns,
		Dir:            paths.NodeData(n.name),
		RunDir:         paths.NodeRun(n.name),
		ClusterDNS:     cfg.DNSIPs()[:1],
		ClusterDomain:  cfg.ClusterDomain,
		ServingCert:    cert,
		ClientCA:       cas,
		Cgroup:         paths.Cgroup().Child(n.name),
		Capacity:       capacity,
		Version:        version.Kubernetes,
		Logger:         n.log.With("part", "agent"),
	})
}

// servingCert is what the node's API shows, and whose clients it believes.
func (n *node) servingCert() (tls.Certificate, *x509.CertPool, error) {
	pki := n.server.control.PKI()
	pair, err := pki.NodeServing(n.name, n.ips...)
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

// containerEvents says in the agent's words what the runtime tells, until ctx ends.
func containerEvents(ctx context.Context, in <-chan oci.Event) <-chan agent.Event {
	out := make(chan agent.Event)
	go func() {
		defer close(out)
		for e := range in {
			select {
			case out <- agent.Event{ContainerID: e.ContainerID, SandboxID: e.SandboxID}:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// machineCapacity is what every node says it has: the nodes of a machine
// share it.
func machineCapacity() (corev1.ResourceList, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, fmt.Errorf("read the machine's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		rest, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the machine's memory: %w", err)
		}
		return corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(kib<<10, resource.BinarySI),
		}, nil
	}
	return nil, errors.New("read the machine's memory: /proc/meminfo has no MemTotal")
}
