package usage

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
)

const (
	// askTime bounds one question to a node.
	askTime = 4 * time.Second
	// maxAnswer bounds what is read of an answer: enough for thousands of Pods.
	maxAnswer = 16 << 20
	// maxAsked is how many nodes are asked side by side.
	maxAsked = 32
)

// kubelets asks the kubelet API of nodes, at the addresses that the Nodes say.
type kubelets struct {
	nodes corev1client.NodeInterface
	certs *clientCert
	roots func() []byte
	clock clock.PassiveClock
	busy  chan struct{}

	mu     sync.Mutex
	bundle []byte // the CAs that http knows
	http   *http.Client
}

func newKubelets(cfg Config) *kubelets {
	return &kubelets{
		nodes: cfg.Client.CoreV1().Nodes(), roots: cfg.Roots, clock: cfg.Clock,
		certs: &clientCert{issue: cfg.Certificate, clock: cfg.Clock},
		busy:  make(chan struct{}, maxAsked),
	}
}

// sample asks one node.
func (k *kubelets) sample(ctx context.Context, name string) (sample, error) {
	select {
	case k.busy <- struct{}{}:
	case <-ctx.Done():
		return sample{}, context.Cause(ctx)
	}
	defer func() { <-k.busy }()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	n, err := k.nodes.Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil {
		return sample{}, fmt.Errorf("look up Node %s: %w", name, err)
	}
	host, err := address(n)
	if err != nil {
		return sample{}, err
	}
	client, err := k.client()
	if err != nil {
		return sample{}, err
	}
	u := url.URL{Scheme: "https", Host: host, Path: "/metrics/resource"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return sample{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return sample{}, fmt.Errorf("%s answers %s", u.String(), resp.Status)
	}
	s, err := parse(io.LimitReader(resp.Body, maxAnswer), k.clock.Now())
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", u.String(), err)
	}
	return s, nil
}

// address is where a Node says that its kubelet API is, with the addresses in
// the order in which the API server tries them.
func address(n *corev1.Node) (string, error) {
	port := int(n.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = 10250
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range n.Status.Addresses {
			if a.Type == kind && a.Address != "" {
				return net.JoinHostPort(a.Address, strconv.Itoa(port)), nil
			}
		}
	}
	return "", fmt.Errorf("Node %s has no address in its status", n.Name) //nolint:staticcheck // a kind's name
}

// client is made when it is needed first, and anew when the CA's certificate was
// renewed.
func (k *kubelets) client() (*http.Client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	bundle := k.roots()
	if k.http != nil && bytes.Equal(bundle, k.bundle) {
		return k.http, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return nil, errors.New("the cluster has no CA certificate to know its nodes by")
	}
	if k.http != nil {
		k.http.CloseIdleConnections() // requests that are on their way end by themselves
	}
	k.bundle = bundle
	k.http = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{
				RootCAs: roots, MinVersion: tls.VersionTLS12,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.certs.get() },
			},
			MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: askTime,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return k.http, nil
}

// clientCert is the certificate that nodes are shown. It is made when it is
// needed, anew when a third of its life is left, and never written to a file.
type clientCert struct {
	issue func() (cert, key []byte, err error)
	clock clock.PassiveClock

	mu   sync.Mutex
	last *tls.Certificate
}

func (c *clientCert) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil {
		leaf := c.last.Leaf
		life, now := leaf.NotAfter.Sub(leaf.NotBefore), c.clock.Now()
		if now.After(leaf.NotBefore) && now.Before(leaf.NotAfter.Add(-life/3)) {
			return c.last, nil
		}
	}
	certPEM, keyPEM, err := c.issue()
	if err != nil {
		return nil, fmt.Errorf("certificate for the nodes: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate for the nodes: %w", err)
	}
	c.last = &pair
	return c.last, nil
}
