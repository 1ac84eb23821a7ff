package table

import (
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// secures tells whether the Ingress makes a host one with TLS. In class nginx any tls section does so for all hosts of
// the Ingress. In class minato only the hosts that tls lists are meant, as the field's documentation has it, and all of
// the Ingress where an entry lists none.
func (e *entry) secures(host string) bool {
	tls := e.ing.Object.Spec.TLS
	if e.ing.Class == ClassNginx {
		return len(tls) > 0
	}
	return slices.ContainsFunc(tls, func(t networkingv1.IngressTLS) bool { return len(t.Hosts) == 0 || listed(t.Hosts, host, true) })
}

// listed tells whether hosts have a host; with wild, also by a wildcard.
func listed(hosts []string, host string, wild bool) bool {
	return slices.ContainsFunc(hosts, func(h string) bool {
		h = hostOf(h)
		return h == host || wild && covers(h, host)
	})
}

// covers tells whether the name of a certificate is the host, or a wildcard that stands for the host's first label.
func covers(name, host string) bool {
	if name == host {
		return true
	}
	suffix, wild := strings.CutPrefix(name, "*.")
	_, parent, sub := strings.Cut(host, ".")
	return wild && sub && parent == suffix && host[0] != '*' && host[0] != '.'
}

// Covers tells whether the certificate is good for a host in lower case.
func (c *Certificate) Covers(host string) bool {
	return c != nil && slices.ContainsFunc(c.Names, func(n string) bool { return covers(n, host) })
}

// certificateFor returns the certificate of a host from the Ingress's tls section: that of the entry that lists the
// host, else the first that covers it; nil is the default certificate. The problem says what keeps the entry that was
// meant from being used.
func (e *entry) certificateFor(host string) (c *Certificate, problem string) {
	tls := e.ing.Object.Spec.TLS
	minato := e.ing.Class == ClassMinato
	for _, wild := range []bool{false, true} {
		if wild && !minato {
			break
		}
		for i := range tls {
			if !listed(tls[i].Hosts, host, wild) {
				continue
			}
			if tls[i].SecretName == "" {
				return nil, ""
			}
			c = e.certificate(tls[i].SecretName)
			switch {
			case c == nil:
				return nil, "Secret " + e.key.Namespace + "/" + tls[i].SecretName + " isn't there or has no certificate and key that can be used"
			case !c.Covers(host):
				return nil, "the certificate of Secret " + e.key.Namespace + "/" + tls[i].SecretName + " isn't for this host, but for " + strings.Join(c.Names, ", ")
			}
			return c, ""
		}
	}
	for i := range tls {
		if c = e.certificate(tls[i].SecretName); c != nil && (c.Covers(host) || minato && host == "" && len(tls[i].Hosts) == 0) {
			return c, ""
		}
	}
	for i := range tls {
		if s := tls[i].SecretName; s != "" && len(tls[i].Hosts) == 0 && host != "" {
			if e.certificate(s) == nil {
				return nil, "Secret " + e.key.Namespace + "/" + s + " isn't there or has no certificate and key that can be used"
			}
			return nil, "no certificate of spec.tls is for this host"
		}
	}
	return nil, ""
}

// CertificateFor returns what a handshake with a server name needs: the Server, whose Options say what is asked of
// clients, and the certificate, nil for the default one. Case and a trailing dot don't count; "" is a handshake without
// a name. A host that has no TLS of its own has the certificate of its wildcard. An alias has the certificate of its host
// only if that covers it.
func (t *Table) CertificateFor(sni string) (*Server, *Certificate) {
	name := normalHost(sni)
	host, how, _ := t.find(name)
	s := host.server
	switch how {
	case byName, byWildcard:
		if s.TLS {
			return s, s.Certificate
		}
	case byAlias, byPattern, byWWW:
		if s.Certificate.Covers(name) {
			return s, s.Certificate
		}
		return s, nil
	}
	if w := t.wildcard(name); w != nil && w.server.TLS {
		return s, w.server.Certificate
	}
	return s, t.any.server.Certificate
}

// TLS tells whether requests for a host are meant to come over TLS: an Ingress with a tls section has the host, or its
// wildcard; an alias must be covered by the certificate of its host (ingress-nginx asks in the same way before it
// redirects).
func (t *Table) TLS(host string) bool {
	name := normalHost(host)
	h, by, _ := t.find(name)
	return t.secure(name, h, by)
}

func (t *Table) secure(name string, h *target, by how) bool {
	switch by {
	case byName, byWildcard:
		if h.server.TLS {
			return true
		}
	case byAlias, byPattern, byWWW:
		return h.server.TLS && h.server.Certificate.Covers(name)
	}
	w := t.wildcard(name)
	return w != nil && w.server.TLS
}

// Misdirected tells whether a request for a host must not be answered on a connection whose handshake named another
// one, because the host asks clients for other certificates (421). Names of hosts that ask for the same, or for none, may
// share a connection.
func (t *Table) Misdirected(sni, host string) bool {
	h, _, _ := t.find(normalHost(host))
	want := h.server.Options.ClientTLS
	if want == nil || want.Verify == VerifyOff && want.Broken == "" {
		return false
	}
	s, _, _ := t.find(normalHost(sni))
	if s.server == h.server {
		return false
	}
	return !want.SameTrust(s.server.Options.ClientTLS)
}

// SameTrust tells whether two hosts judge clients alike, so that a client known to one is known to the other. Nil trusts
// nobody in particular, and is like nothing else.
func (c *ClientTLS) SameTrust(o *ClientTLS) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c == o || c.Secret == o.Secret && c.Verify == o.Verify && c.Depth == o.Depth && c.Broken == o.Broken && same(c.CAs, o.CAs) && same(c.CRL, o.CRL)
}
