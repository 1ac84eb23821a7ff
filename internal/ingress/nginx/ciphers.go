package nginx

import (
	"crypto/tls"
	"errors"
	"strings"
)

// cipherID returns the number of a cipher suite by its OpenSSL name; 0 for those that crypto/tls lacks.
// TLS 1.3's suites are not here: they can't be chosen.
func cipherID(name string) uint16 {
	switch name {
	case "ECDHE-ECDSA-AES128-GCM-SHA256":
		return tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	case "ECDHE-RSA-AES128-GCM-SHA256":
		return tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	case "ECDHE-ECDSA-AES256-GCM-SHA384":
		return tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
	case "ECDHE-RSA-AES256-GCM-SHA384":
		return tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
	case "ECDHE-ECDSA-CHACHA20-POLY1305":
		return tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
	case "ECDHE-RSA-CHACHA20-POLY1305":
		return tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
	case "ECDHE-ECDSA-AES128-SHA256":
		return tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256
	case "ECDHE-RSA-AES128-SHA256":
		return tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256
	case "ECDHE-ECDSA-AES128-SHA":
		return tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
	case "ECDHE-RSA-AES128-SHA":
		return tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
	case "ECDHE-ECDSA-AES256-SHA":
		return tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA
	case "ECDHE-RSA-AES256-SHA":
		return tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA
	case "AES128-GCM-SHA256":
		return tls.TLS_RSA_WITH_AES_128_GCM_SHA256
	case "AES256-GCM-SHA384":
		return tls.TLS_RSA_WITH_AES_256_GCM_SHA384
	case "AES128-SHA256":
		return tls.TLS_RSA_WITH_AES_128_CBC_SHA256
	case "AES128-SHA":
		return tls.TLS_RSA_WITH_AES_128_CBC_SHA
	case "AES256-SHA":
		return tls.TLS_RSA_WITH_AES_256_CBC_SHA
	}
	return 0
}

// defaultCiphers are those of ingress-nginx's default that crypto/tls has: with forward secrecy and AEAD.
func defaultCiphers() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// parseCiphers parses a list of OpenSSL's names. Those that can't be had are returned by name.
func parseCiphers(s string) (ids []uint16, unknown []string) {
	seen := map[uint16]bool{}
	for _, name := range strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		id := cipherID(name)
		if id == 0 {
			unknown = append(unknown, name)
		} else if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, unknown
}

// parseProtocols parses a list of nginx's names of TLS versions into the lowest and the highest that Go's library has.
// Versions before 1.0, which it lacks, are left out.
func parseProtocols(s string) (lowest, highest uint16, err error) {
	for _, name := range strings.Fields(s) {
		var v uint16
		switch name {
		case "SSLv2", "SSLv3":
			continue
		case "TLSv1", "TLSv1.0":
			v = tls.VersionTLS10
		case "TLSv1.1":
			v = tls.VersionTLS11
		case "TLSv1.2":
			v = tls.VersionTLS12
		case "TLSv1.3":
			v = tls.VersionTLS13
		default:
			return 0, 0, errors.New("it is not a list of TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3")
		}
		if lowest == 0 || v < lowest {
			lowest = v
		}
		highest = max(highest, v)
	}
	if lowest == 0 {
		return 0, 0, errors.New("it has no version of TLS that can be spoken")
	}
	return lowest, highest, nil
}
