package apiserver

import (
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"minato/internal/controlplane/pki"
)

// servingCert shows upstream's serving code the present certificate. That code
// asks again every minute, so a renewal needs no notification.
type servingCert struct {
	authority *pki.Authority
}

var _ dynamiccertificates.CertKeyContentProvider = servingCert{}

func (servingCert) Name() string { return "minato-serving-cert" }

func (c servingCert) CurrentCertKeyContent() (cert, key []byte) {
	p := c.authority.APIServer()
	return p.Cert, p.Key
}

func (servingCert) AddListener(dynamiccertificates.Listener) {}
