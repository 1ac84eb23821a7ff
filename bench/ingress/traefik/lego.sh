#!/bin/sh
# Copies the module of lego, which Traefik gets certificates with, without its providers of DNS: the modules of some two
# hundred companies, which would be most of what is built, and do nothing in the benchmark.
#   lego.sh DIRECTORY
set -eu

to=$1
version=v5.4.1
from=$(cd / && GOFLAGS='' go mod download -json "github.com/go-acme/lego/v5@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
[ -n "$from" ] || { echo "lego.sh: the module github.com/go-acme/lego/v5@$version cannot be had" >&2; exit 1; }
rm -rf "$to"
mkdir -p "$to"
cp -r "$from/." "$to"
chmod -R u+w "$to"
rm -rf "$to/providers/dns"
mkdir "$to/providers/dns"
cat >"$to/providers/dns/dns.go" <<'END'
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
