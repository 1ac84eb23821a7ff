package dns

import (
	"fmt"
	"strings"

	"minato/internal/dns/zone"
)

// DefaultCorefile says the same as no configuration does, in the words that people
// know from kubeadm's ConfigMap.
func DefaultCorefile(domain string) string {
	return fmt.Sprintf(`.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes %s in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl %d
    }
    prometheus :%d
    forward . /etc/resolv.conf {
       max_concurrent %d
    }
    cache {
       success 9984 %d
       denial 9984 %d
    }
    loop
    reload
    loadbalance
}
`, strings.TrimSuffix(domain, "."), zone.DefaultTTL, 9153, defaultMaxConcurrent, defaultMaxTTL, defaultMaxNegativeTTL)
}
