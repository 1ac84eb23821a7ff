#!/bin/sh
# Makes the modules that Traefik is built with in another form than it has them:
#   lego       without its providers of DNS, the modules of some two hundred companies, which would be most of what is
#              built and do nothing in the benchmark
#   http-auth  as published, since Traefik's fork is not among the modules that can be downloaded, with what that one adds
#
#   modules.sh DIRECTORY
set -eu

take() { # take MODULE VERSION NAME: copy a module
	from=$(cd / && GOFLAGS='' go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	[ -n "$from" ] || { echo "modules.sh: the module $1@$2 cannot be had" >&2; exit 1; }
	rm -rf "${to:?}/$3"
	mkdir -p "$to/$3"
	cp -r "$from/." "$to/$3"
	chmod -R u+w "$to/$3"
}

to=$1
take github.com/go-acme/lego/v5 v5.4.1 lego
rm -rf "$to/lego/providers/dns"
mkdir "$to/lego/providers/dns"
cat >"$to/lego/providers/dns/dns.go" <<'END'
// Package dns has no providers: nothing that the benchmark does asks for certificates.
package dns

import (
	"errors"

	"github.com/go-acme/lego/v5/challenge"
)

// NewDNSChallengeProviderByName finds none.
func NewDNSChallengeProviderByName(string) (challenge.Provider, error) {
	return nil, errors.New("this build has no providers of DNS")
}
END

take github.com/abbot/go-http-auth v0.4.0 http-auth
printf 'module github.com/abbot/go-http-auth\n\nrequire golang.org/x/crypto v0.1.0\n' >"$to/http-auth/go.mod"
cat >"$to/http-auth/benchmark.go" <<'END'
package auth

import "net/http"

// CheckSecret accepts nothing: no request of the benchmark has credentials.
func CheckSecret(string, string) bool { return false }

// RequireAuthStale asks for credentials.
func (a *DigestAuth) RequireAuthStale(w http.ResponseWriter, r *http.Request) { a.RequireAuth(w, r) }
END
