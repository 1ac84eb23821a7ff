package apiserver

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"minato/internal/controlplane/pki"
)

// servingCert gives upstream's server the present certificate, and tells it of each
// renewal: from then on, new connections get the new one, and open ones go on.
type servingCert struct {
	authority *pki.Authority
}

var _ dynamiccertificates.CertKeyContentProvider = servingCert{}

func (servingCert) Name() string { return "minato-serving-cert" }

func (c servingCert) CurrentCertKeyContent() (cert, key []byte) {
	p := c.authority.APIServer()
	return p.Cert, p.Key
}

func (c servingCert) AddListener(l dynamiccertificates.Listener) {
	c.authority.OnRenewal(l.Enqueue)
}

// clientCA gives upstream's server the present CA of client certificates. The
// files of the CA are not watched, because each watched file costs an inotify
// instance; the authority knows the content.
type clientCA struct {
	authority *pki.Authority

	mu     sync.Mutex
	parsed dynamiccertificates.CAContentProvider // of the newest bundle that could be parsed
}

var _ dynamiccertificates.CAContentProvider = (*clientCA)(nil)

func newClientCA(authority *pki.Authority) (*clientCA, error) {
	c := &clientCA{authority: authority}
	parsed, err := dynamiccertificates.NewStaticCAContent(c.Name(), authority.CABundle())
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	c.parsed = parsed
	return c, nil
}

func (*clientCA) Name() string { return "cluster-ca" }

func (c *clientCA) AddListener(l dynamiccertificates.Listener) { c.authority.OnRenewal(l.Enqueue) }

func (c *clientCA) CurrentCABundleContent() []byte { return c.current().CurrentCABundleContent() }

func (c *clientCA) VerifyOptions() (x509.VerifyOptions, bool) { return c.current().VerifyOptions() }

// current is the authority's bundle, parsed when it has changed.
func (c *clientCA) current() dynamiccertificates.CAContentProvider {
	bundle := c.authority.CABundle()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Equal(bundle, c.parsed.CurrentCABundleContent()) {
		if parsed, err := dynamiccertificates.NewStaticCAContent(c.Name(), bundle); err == nil {
			c.parsed = parsed
		}
	}
	return c.parsed
}
