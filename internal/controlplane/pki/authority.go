package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// File names inside the directory. They are kubeadm's, so that people and tools
// find what they look for.
const (
	fileCA            = "ca"
	fileFrontProxyCA  = "front-proxy-ca"
	fileAPIServer     = "apiserver"
	fileKubeletClient = "apiserver-kubelet-client"
	fileFrontProxy    = "front-proxy-client"
	fileAdmin         = "admin"
	fileSAKey         = "sa.key"
	fileSAPub         = "sa.pub"
	dirNodes          = "nodes"
)

// Identities that upstream's RBAC and aggregation know by name, or kubeadm's
// users.
const (
	groupNodes = "system:nodes"

	// FrontProxyName is the common name of the front-proxy client certificate.
	FrontProxyName = "front-proxy-client"
	// KubeletClientName is the common name of the certificate with which the API
	// server calls the nodes' agents. It has no group: a ClusterRoleBinding gives
	// it what it may do on nodes.
	KubeletClientName = "kube-apiserver-kubelet-client"
	// AdminName is the common name of the administrator's certificate, AdminGroup
	// its organization. As kubeadm's, the group has its rights from a
	// ClusterRoleBinding rather than from the authorizer, as system:masters has.
	AdminName  = "kubernetes-admin"
	AdminGroup = "kubeadm:cluster-admins"
)

// Config says where the files are and what the API server is called.
type Config struct {
	Dir string
	// DNSNames and Addresses are the names of the API server.
	DNSNames  []string
	Addresses []netip.Addr
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authority issues and keeps certificates. It is safe for concurrent use.
type Authority struct {
	cfg Config

	mu           sync.Mutex
	ca           *issuer
	frontProxyCA *issuer
	apiServer    Pair
	admin        Pair
	saKey        *ecdsa.PrivateKey
	nodes        map[string]leafSpec // of the nodes' certificates that were asked for, by file
	plan         plan
	renewed      bool // something was issued since the listeners were told

	telling     sync.Mutex // held while listeners are told, of one renewal at a time
	listenersMu sync.Mutex
	listeners   []func()
}

// Open loads the directory, making what is missing or about to expire.
func Open(cfg Config) (*Authority, error) {
	if cfg.Dir == "" {
		return nil, errors.New("pki: Config.Dir is empty; name a directory for the certificates")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, dirNodes), 0o700); err != nil {
		return nil, fmt.Errorf("pki: make directory: %w", err)
	}
	a := &Authority{cfg: cfg, nodes: map[string]leafSpec{}}
	if err := a.Renew(); err != nil {
		return nil, err
	}
	return a, nil
}

// Renew brings every file up to date, those of the nodes that were asked for
// included, and then tells the listeners if something was issued.
func (a *Authority) Renew() error {
	a.mu.Lock()
	a.plan = plan{}
	err := a.renew()
	tell := a.renewed
	a.renewed = false
	a.mu.Unlock()
	if tell {
		a.tell()
	}
	return err
}

// OnRenewal has f called after each renewal in which something was issued, of one at a
// time. f must not block, and may ask for what is in force now.
func (a *Authority) OnRenewal(f func()) {
	a.listenersMu.Lock()
	defer a.listenersMu.Unlock()
	a.listeners = append(a.listeners, f)
}

func (a *Authority) tell() {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.listenersMu.Lock()
	listeners := slices.Clone(a.listeners)
	a.listenersMu.Unlock()
	for _, f := range listeners {
		f()
	}
}

// renew is Renew with the lock held. What cannot be renewed stays in use as it is.
func (a *Authority) renew() error {
	ca, err := a.loadCA(fileCA, "kubernetes")
	if err != nil {
		return err
	}
	a.ca = ca
	frontProxyCA, err := a.loadCA(fileFrontProxyCA, "front-proxy-ca")
	if err != nil {
		return err
	}
	a.frontProxyCA = frontProxyCA
	key, err := a.loadServiceAccountKey()
	if err != nil {
		return err
	}
	a.saKey = key

	var errs []error
	load := func(ca *issuer, file string, spec leafSpec) (pair Pair, ok bool) {
		pair, err := a.loadLeaf(ca, file, spec)
		if err != nil {
			errs = append(errs, err)
		}
		return pair, err == nil
	}
	if pair, ok := load(a.ca, fileAPIServer, leafSpec{
		CommonName: "kube-apiserver",
		DNSNames:   a.cfg.DNSNames,
		Addresses:  a.cfg.Addresses,
		Usage:      x509.ExtKeyUsageServerAuth,
	}); ok {
		a.apiServer = pair
	}
	if pair, ok := load(a.ca, fileAdmin, leafSpec{
		CommonName:    AdminName,
		Organizations: []string{AdminGroup},
		Usage:         x509.ExtKeyUsageClientAuth,
	}); ok {
		a.admin = pair
	}
	load(a.ca, fileKubeletClient, leafSpec{CommonName: KubeletClientName, Usage: x509.ExtKeyUsageClientAuth})
	load(a.frontProxyCA, fileFrontProxy, leafSpec{CommonName: FrontProxyName, Usage: x509.ExtKeyUsageClientAuth})
	for _, file := range slices.Sorted(maps.Keys(a.nodes)) {
		load(a.ca, file, a.nodes[file])
	}
	return errors.Join(errs...)
}

// loadNode is loadLeaf for a certificate of a node, which is renewed from now on
// as the others are.
func (a *Authority) loadNode(file string, spec leafSpec) (Pair, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	file = filepath.Join(dirNodes, file)
	a.nodes[file] = spec
	return a.loadLeaf(a.ca, file, spec)
}

// NodeClient returns the certificate a node's agent identifies itself with.
func (a *Authority) NodeClient(node string) (Pair, error) {
	if err := checkNodeName(node); err != nil {
		return Pair{}, err
	}
	return a.loadNode(node+"-client", leafSpec{
		CommonName:    "system:node:" + node,
		Organizations: []string{groupNodes},
		Usage:         x509.ExtKeyUsageClientAuth,
	})
}

// PartClient makes a certificate for a user of Minato's own parts. It is in no
// file: the part makes another one when it starts again.
func (a *Authority) PartClient(user string) (Pair, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ca.issue(leafSpec{CommonName: user, Usage: x509.ExtKeyUsageClientAuth}, a.cfg.Now())
}

// NodeServing returns the certificate of a node's agent on its port 10250.
func (a *Authority) NodeServing(node string, addresses ...netip.Addr) (Pair, error) {
	if err := checkNodeName(node); err != nil {
		return Pair{}, err
	}
	return a.loadNode(node+"-serving", leafSpec{
		CommonName:    "system:node:" + node,
		Organizations: []string{groupNodes},
		DNSNames:      []string{node},
		Addresses:     addresses,
		Usage:         x509.ExtKeyUsageServerAuth,
	})
}

// ForgetNode removes the certificates of a node that is gone. Who has a copy of
// them can use them until they expire.
func (a *Authority) ForgetNode(node string) error {
	if err := checkNodeName(node); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, kind := range []string{"-client", "-serving"} {
		delete(a.nodes, filepath.Join(dirNodes, node+kind))
		for _, ext := range []string{extKey, extCert} {
			err := os.Remove(filepath.Join(a.cfg.Dir, dirNodes, node+kind+ext))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("pki: forget node %s: %w", node, err))
			}
		}
	}
	return errors.Join(errs...)
}

// CABundle is the cluster CA certificate in PEM.
func (a *Authority) CABundle() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ca.certPEM
}

// APIServer is the API server's present serving certificate.
func (a *Authority) APIServer() Pair {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.apiServer
}

// Admin is the administrator's client certificate.
func (a *Authority) Admin() Pair {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.admin
}

// ServiceAccountKey signs ServiceAccount tokens.
func (a *Authority) ServiceAccountKey() *ecdsa.PrivateKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.saKey
}

// Paths are the files that upstream components read by themselves.
type Paths struct {
	CACert, CAKey                        string
	FrontProxyCACert                     string
	FrontProxyCert, FrontProxyKey        string
	KubeletClientCert, KubeletClientKey  string
	ServiceAccountKey, ServiceAccountPub string
}

// Paths names the files.
func (a *Authority) Paths() Paths {
	in := func(name string) string { return filepath.Join(a.cfg.Dir, name) }
	return Paths{
		CACert: in(fileCA + extCert), CAKey: in(fileCA + extKey),
		FrontProxyCACert: in(fileFrontProxyCA + extCert),
		FrontProxyCert:   in(fileFrontProxy + extCert), FrontProxyKey: in(fileFrontProxy + extKey),
		KubeletClientCert: in(fileKubeletClient + extCert), KubeletClientKey: in(fileKubeletClient + extKey),
		ServiceAccountKey: in(fileSAKey), ServiceAccountPub: in(fileSAPub),
	}
}

// checkNodeName keeps a node's name from leaving the directory.
func checkNodeName(node string) error {
	if node == "" || node != filepath.Base(node) || node == "." || node == ".." {
		return fmt.Errorf("pki: node name %q cannot be used as a file name", node)
	}
	return nil
}
