package nginx

import (
	"slices"
	"sync"
)

// Key is one key of ingress-nginx's ConfigMap.
type Key struct {
	Name, Group string
	// Support is Refused for keys that have no meaning here; Note says why.
	Support                        Support
	Values, Default, Example, Note string
	Difference                     string
}

// knownKeys is the list of keys, made once, in the order of the documentation.
var knownKeys = sync.OnceValue(func() (list struct {
	all    []Key
	byName map[string]*Key
}) {
	list.all = slices.Concat(
		clientKeys(),
		tlsKeys(),
		connectionKeys(),
		headerKeys(),
		compressionKeys(),
		accessKeys(),
		globalAuthKeys(),
		logKeys(),
		streamKeys(),
		annotationKeys(),
		refusedKeys(),
	)
	list.byName = make(map[string]*Key, len(list.all))
	for i := range list.all {
		list.byName[list.all[i].Name] = &list.all[i]
	}
	return list
})

// keyRows makes rows of a group.
type keyRows string

func (g keyRows) row(name, values, def, example, note string) Key {
	return Key{Name: name, Group: string(g), Support: Honoured, Values: values, Default: def, Example: example, Note: note}
}

// but adds a difference that concerns some values alone.
func (k Key) but(what string) Key {
	k.Difference = what
	return k
}

func (k Key) differs(how string) Key {
	k.Support, k.Difference = Differs, how
	return k
}

func clientKeys() []Key {
	g := keyRows("Clients' addresses")
	return []Key{
		g.row("use-forwarded-headers", "bool", "false", "true", "X-Forwarded-Proto, -Port and -Host are believed, and X-Forwarded-For through proxy-real-ip-cidr."),
		g.row("compute-full-forwarded-for", "bool", "false", "true", "X-Forwarded-For is extended, not replaced."),
		g.row("enable-real-ip", "bool", "false", "true", "X-Forwarded-For is believed for the client's address alone."),
		g.row("forwarded-for-header", "a header's name", "X-Forwarded-For", "X-Real-Client", "The header with the client's address."),
		g.row("use-proxy-protocol", "bool", "false", "true", "Connections begin with PROXY protocol, version 1 or 2."),
		g.row("proxy-protocol-header-timeout", "a duration of Go's", "5s", "10s", "How long that may take."),
		g.row("proxy-real-ip-cidr", "a list of addresses and CIDRs", "0.0.0.0/0", "10.0.0.0/8", "Who is believed.").
			but("Items that can't be read are left out. If none is left, nobody is believed; ingress-nginx believes all."),
	}
}

func tlsKeys() []Key {
	g := keyRows("TLS")
	return []Key{
		g.row("ssl-protocols", "a list of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3", "TLSv1.2 TLSv1.3", "TLSv1.3", "The versions of TLS; those between the lowest and the highest are spoken."),
		g.row("ssl-ciphers", "OpenSSL names, with `:` between them", "the six of ECDHE with AEAD", "ECDHE-RSA-AES128-GCM-SHA256", "The cipher suites of TLS 1.2.").
			but("Suites that Go's TLS library lacks are left out, with a finding."),
		g.row("ssl-session-tickets", "bool", "false", "true", "Whether sessions are resumed by tickets."),
		g.row("ssl-session-cache", "bool", "true", "false", "Whether sessions are resumed that the node's proxy remembers."),
		g.row("ssl-session-cache-size", "a size", "10m", "1m", "How much memory these may take; the oldest make room."),
		g.row("ssl-session-timeout", "a time", "10m", "1h", "How long they can be resumed."),
		g.row("ssl-reject-handshake", "bool", "false", "true", "Handshakes for names without a certificate are refused."),
		g.row("ssl-redirect", "bool", "true for class nginx, false for class minato", "false", "As the annotation; a key that is set holds for both classes."),
		g.row("force-ssl-redirect", "bool", "false", "true", "As the annotation."),
		g.row("hsts", "bool", "true for class nginx, false for class minato", "false", "Strict-Transport-Security on every answer over TLS; a key that is set holds for both classes."),
		g.row("hsts-max-age", "seconds", "31536000", "3600", "max-age of it."),
		g.row("hsts-include-subdomains", "bool", "true", "false", "includeSubDomains of it."),
		g.row("hsts-preload", "bool", "false", "true", "preload of it."),
		g.row("use-http2", "bool", "true", "false", "Whether HTTP/2 is offered."),
		g.row("http2-max-concurrent-streams", "a whole number", "128", "64", "Requests at a time on one connection."),
	}
}

func connectionKeys() []Key {
	g := keyRows("Connections")
	return []Key{
		g.row("keep-alive", "seconds", "75", "30", "How long a client's idle connection is kept; 0 closes it after each request."),
		g.row("keep-alive-requests", "a whole number", "1000", "100", "How many requests one connection serves."),
		g.row("upstream-keepalive-connections", "a whole number", "320", "64", "How many idle connections to backends are kept."),
		g.row("upstream-keepalive-timeout", "seconds", "60", "30", "How long they are kept."),
		g.row("upstream-keepalive-requests", "a whole number", "10000", "100", "How many requests one of them serves."),
		g.row("upstream-keepalive-time", "a time", "1h", "10m", "How long one of them serves requests."),
		g.row("client-header-buffer-size", "a size", "1k", "4k", "The buffer for a request's header."),
		g.row("large-client-header-buffers", "a number and a size", "4 8k", "4 16k", "The buffers for larger ones; a line that fits none is 400, a URL 414."),
		g.row("client-header-timeout", "seconds", "60", "10", "How long a request's header may take: 408."),
		g.row("client-body-timeout", "seconds", "60", "10", "How long a client may be silent in a body: 408."),
		g.row("worker-processes", "a whole number or `auto`", "auto", "2", "How many CPUs the proxy uses."),
		g.row("max-worker-connections", "a whole number", "16384", "1024", "How many connections there may be for each of them."),
		g.row("worker-shutdown-timeout", "a time", "240s", "10s", "How long requests may go on when the proxy ends."),
	}
}

func headerKeys() []Key {
	g := keyRows("Headers")
	return []Key{
		g.row("server-tokens", "bool", "false", "true", "Whether answers have a Server header of the proxy's."),
		g.row("allow-backend-server-header", "bool", "false", "true", "Whether the backend's Server header is kept."),
		g.row("hide-headers", "a list of headers", "none", "X-Powered-By", "Headers of backends that clients don't get."),
		g.row("enable-underscores-in-headers", "bool", "false", "true", "Whether headers with \"_\" in the name are kept."),
		g.row("ignore-invalid-headers", "bool", "true", "false", "Whether headers with other odd names are dropped."),
		g.row("generate-request-id", "bool", "true", "false", "Whether requests without X-Request-ID get one."),
		g.row("proxy-add-original-uri-header", "bool", "false", "true", "Whether backends get X-Original-Uri."),
		g.row("proxy-set-headers", "[namespace/]name of a ConfigMap", "none", "ingress-nginx/to-backends", "Headers that backends get, with variables."),
		g.row("add-headers", "[namespace/]name of a ConfigMap", "none", "ingress-nginx/to-clients", "Headers that clients get."),
	}
}

func compressionKeys() []Key {
	g := keyRows("Compression")
	return []Key{
		g.row("use-gzip", "bool", "false", "true", "Whether answers are compressed by gzip."),
		g.row("gzip-level", "1 to 9", "1", "5", "How hard."),
		g.row("gzip-min-length", "bytes", "256", "1000", "From which length."),
		g.row("gzip-types", "a list of media types, or `*`", "texts, JSON, XML, fonts, icons", "text/css application/json", "Which; text/html always."),
		g.row("enable-brotli", "bool", "false", "true", "Whether answers are compressed by Brotli, for clients that take it."),
		g.row("brotli-level", "1 to 11", "4", "6", "How hard."),
		g.row("brotli-min-length", "bytes", "20", "1000", "From which length."),
		g.row("brotli-types", "a list of media types, or `*`", "as gzip-types", "text/css application/json", "Which; text/html always."),
	}
}

func accessKeys() []Key {
	g := keyRows("Access")
	return []Key{
		g.row("block-cidrs", "a list of addresses and CIDRs", "none", "203.0.113.0/24", "These clients are answered 403."),
		g.row("block-user-agents", "a list of texts, or `~` and a pattern", "none", "~*curl.*", "As are these User-Agents."),
		g.row("block-referers", "a list of texts, or `~` and a pattern", "none", "~*spam.*", "And these Referers."),
		g.row("http-redirect-code", "301, 302, 307 or 308", "308", "301", "The status of redirects to HTTPS."),
		g.row("limit-req-status-code", "400 to 599", "503", "429", "The status above limit-rps and limit-rpm."),
		g.row("limit-conn-status-code", "400 to 599", "503", "429", "The status above limit-connections."),
		g.row("no-tls-redirect-locations", "a list of paths", "/.well-known/acme-challenge", "/.well-known/acme-challenge,/health", "Where nothing is redirected to HTTPS."),
		g.row("no-auth-locations", "a list of paths", "/.well-known/acme-challenge", "/health", "Where the global authentication asks nobody."),
		g.row("allow-cross-namespace-resources", "bool", "false", "true", "Whether annotations may name Secrets and ConfigMaps of other namespaces."),
		g.row("global-allowed-response-headers", "a list of headers", "none", "X-Frame-Options,Cache-Control", "What custom-headers may set."),
		g.row("annotations-risk-level", "Low, Medium, High or Critical", "High", "Medium", "An Ingress with an annotation of a higher risk, by ingress-nginx's list of them, answers 503. Snippets are refused at each level, and the rest of their Ingress is served."),
		g.row("annotation-value-word-blocklist", "a list of words", "none", "load_module,lua_package", "An Ingress with an annotation that has one of them answers 503."),
	}
}

func globalAuthKeys() []Key {
	g := keyRows("Global authentication")
	const closed = "A value that can't be used closes all Ingresses that don't opt out; ingress-nginx goes on without authentication."
	return []Key{
		g.row("global-auth-url", "an http(s) URL with variables", "none", "http://auth.auth.svc/check", "As auth-url, for all Ingresses without one.").but(closed),
		g.row("global-auth-method", "a method", "GET", "POST", "As auth-method.").but(closed),
		g.row("global-auth-signin", "a URL with variables", "none", "https://auth.example.com/login", "As auth-signin.").but(closed),
		g.row("global-auth-signin-redirect-param", "a name", "rd", "next", "As auth-signin-redirect-param."),
		g.row("global-auth-response-headers", "a list of headers", "none", "X-User", "As auth-response-headers.").but(closed),
		g.row("global-auth-request-redirect", "a URL with variables", "the request's URI", "https://example.com$request_uri", "As auth-request-redirect.").but(closed),
		g.row("global-auth-cache-key", "a text with variables", "none", "$remote_user$http_authorization", "As auth-cache-key.").but(closed),
		g.row("global-auth-cache-duration", "a list of [statuses] time", "200 202 401 5m", "200 1m", "As auth-cache-duration.").but(closed),
		g.row("global-auth-always-set-cookie", "bool", "false", "true", "As auth-always-set-cookie."),
	}
}

func logKeys() []Key {
	g := keyRows("Logs")
	return []Key{
		g.row("log-format-upstream", "a text with variables", "ingress-nginx's", `$remote_addr "$request" $status`, "A line for each request."),
		g.row("log-format-escape-json", "bool", "false", "true", "Whether values are escaped as in JSON."),
		g.row("log-format-escape-none", "bool", "false", "true", "Whether values are not escaped.").
			differs("Control characters are escaped nonetheless: a request can't write lines of its own."),
		g.row("log-format-stream", "a text with variables", "ingress-nginx's", "$remote_addr $status", "A line for each connection of the TCP and UDP services."),
		g.row("disable-access-log", "bool", "false", "true", "No lines at all."),
		g.row("disable-http-access-log", "bool", "false", "true", "No lines for requests."),
		g.row("disable-stream-access-log", "bool", "false", "true", "No lines for TCP and UDP services."),
		g.row("skip-access-log-urls", "a list of paths", "none", "/healthz", "No lines for these."),
	}
}

func streamKeys() []Key {
	g := keyRows("TCP and UDP services")
	return []Key{
		g.row("proxy-stream-timeout", "a time", "600s", "60s", "How long both sides may be silent."),
		g.row("proxy-stream-next-upstream", "bool", "true", "false", "Whether another endpoint is tried if one doesn't answer."),
		g.row("proxy-stream-next-upstream-tries", "a whole number; 0 is no limit", "3", "2", "How many are tried in all."),
		g.row("proxy-stream-next-upstream-timeout", "a time; 0 is no limit", "600s", "10s", "How long."),
	}
}
