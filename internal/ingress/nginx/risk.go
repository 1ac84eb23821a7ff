package nginx

import "errors"

// Risk is how much harm ingress-nginx's documentation says an annotation can do there. Here it only serves to keep out
// what the key annotations-risk-level keeps out.
type Risk uint8

// The risks. The zero Risk is none, and as a level no level.
const (
	RiskLow Risk = iota + 1
	RiskMedium
	RiskHigh
	RiskCritical
)

func (r Risk) String() string {
	switch r {
	case RiskLow:
		return "Low"
	case RiskMedium:
		return "Medium"
	case RiskHigh:
		return "High"
	case RiskCritical:
		return "Critical"
	}
	return ""
}

func parseRisk(s string) (Risk, error) {
	for r := RiskLow; r <= RiskCritical; r++ {
		if s == r.String() {
			return r, nil
		}
	}
	return 0, errors.New("it is not one of Low, Medium, High, Critical")
}

// riskOf returns the risk of an annotation.
func riskOf(name string) Risk {
	switch name {
	case "configuration-snippet", "server-snippet", "auth-snippet", "modsecurity-snippet", "stream-snippet":
		return RiskCritical
	case "server-alias", "auth-tls-error-page", "auth-tls-match-cn", "auth-signin", "auth-url", "mirror-host", "mirror-target",
		"modsecurity-transaction-id", "proxy-ssl-name", "upstream-hash-by":
		return RiskHigh
	case "allowlist-source-range", "whitelist-source-range", "denylist-source-range", "auth-realm", "auth-secret", "canary-by-cookie",
		"canary-by-header", "canary-by-header-pattern", "canary-by-header-value", "auth-tls-secret", "auth-tls-verify-client",
		"cors-allow-headers", "cors-allow-methods", "cors-allow-origin", "cors-expose-headers", "custom-headers", "auth-cache-duration",
		"auth-cache-key", "auth-proxy-set-headers", "auth-request-redirect", "auth-response-headers", "auth-signin-redirect-param",
		"fastcgi-index", "fastcgi-params-configmap", "opentelemetry-operation-name", "proxy-body-size", "proxy-cookie-domain",
		"proxy-cookie-path", "proxy-next-upstream", "proxy-redirect-from", "proxy-redirect-to", "proxy-ssl-ciphers", "proxy-ssl-secret",
		"permanent-redirect", "temporal-redirect", "app-root", "force-ssl-redirect", "preserve-trailing-slash", "rewrite-target",
		"affinity-mode", "session-cookie-domain", "session-cookie-expires", "session-cookie-max-age", "session-cookie-name",
		"session-cookie-path", "x-forwarded-prefix":
		return RiskMedium
	}
	return RiskLow
}
