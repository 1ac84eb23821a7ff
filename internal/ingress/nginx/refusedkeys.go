package nginx

// annotationKeys are the keys that set what annotations can set too.
func annotationKeys() []Key {
	g := keyRows("What annotations can set too")
	out := []Key{
		g.row("retry-non-idempotent", "bool", "false", "true", "As non_idempotent of proxy-next-upstream."),
	}
	for _, a := range known().all {
		switch a.Name {
		case "ssl-redirect", "force-ssl-redirect", "ssl-ciphers": // among TLS
			continue
		}
		if a.Key {
			note := "As the annotation."
			if a.Support == Refused {
				note = a.Note
			}
			out = append(out, Key{Name: a.Name, Group: string(g), Support: a.Support, Values: a.Values, Default: a.Default, Example: a.Example, Note: note, Difference: a.Difference})
		}
	}
	return out
}

// refusedKeys are those that have no meaning here, or that nobody should rely on.
func refusedKeys() []Key {
	g := keyRows("What is refused")
	var out []Key
	add := func(note string, names ...string) {
		for _, n := range names {
			out = append(out, Key{Name: n, Group: string(g), Support: Refused, Note: note})
		}
	}
	add("Snippets are not honoured: they would be configuration of nginx.",
		"allow-snippet-annotations", "main-snippet", "http-snippet", "server-snippet", "stream-snippet", "location-snippet", "global-auth-snippet")
	add("Paths only ever reach a matcher, so all that the API server admits is safe.", "strict-validate-path-type")
	add("There is no web application firewall; put one before the backends.", "enable-modsecurity", "enable-owasp-modsecurity-crs", "modsecurity-snippet")
	add("Lines go to the proxy's log; their place and level are set where it runs.", "access-log-params", "access-log-path", "http-access-log-path", "stream-access-log-path",
		"error-log-path", "error-log-level", "enable-syslog", "syslog-host", "syslog-port", "enable-access-log-for-default-backend", "enable-auth-access-log", "debug-connections")
	add("It listens where the node's addresses and the Service say.", "bind-address", "disable-ipv6", "disable-ipv6-dns")
	add("It is about nginx's memory and processes.", "enable-multi-accept", "max-worker-open-files", "map-hash-bucket-size", "server-name-hash-max-size", "server-name-hash-bucket-size",
		"proxy-headers-hash-max-size", "proxy-headers-hash-bucket-size", "variables-hash-bucket-size", "variables-hash-max-size", "reuse-port", "worker-cpu-affinity", "enable-aio-write", "lua-shared-dicts")
	add("nginx dropped it; large-client-header-buffers and keep-alive-requests hold for HTTP/2 too.", "http2-max-field-size", "http2-max-header-size", "http2-max-requests")
	add("The TLS library chooses curves and parameters, and makes and changes its keys for tickets.", "ssl-ecdh-curve", "ssl-dh-param", "ssl-session-ticket-key", "ssl-buffer-size")
	add("Early data can be sent twice by an attacker; it is never taken.", "ssl-early-data")
	add("Answers of OCSP are not fetched.", "enable-ocsp")
	add("It is always so: the annotations proxy-ssl-* hold for the paths of their Ingress.", "proxy-ssl-location-only")
	add("There is no data base of places; the address is in X-Forwarded-For.", "use-geoip", "use-geoip2")
	add("There is no code in the proxy.", "plugins")
	add("Limits count by the client's address.", "limit-conn-zone-variable")
	add("Answers of the proxy's own have the type of what they are.", "default-type")
	add("The answers' number isn't counted; a session of UDP ends when both sides are silent for proxy-stream-timeout.", "proxy-stream-responses")
	add("Compression goes by the client's Accept-Encoding alone.", "gzip-disable")
	add("The metrics are served at their own port.", "nginx-status-ipv4-whitelist", "nginx-status-ipv6-whitelist")
	add("Traces are passed on in the header traceparent; spans are not sent to a collector.", "opentelemetry-config", "otlp-collector-host", "otlp-collector-port", "otel-service-name", "otel-sampler",
		"otel-sampler-ratio", "otel-sampler-parent-based", "otel-max-queuesize", "otel-schedule-delay-millis", "otel-max-export-batch-size")
	add("ingress-nginx itself no longer has it; use enable-opentelemetry.", "enable-opentracing", "opentracing-operation-name", "opentracing-location-operation-name", "opentracing-trust-incoming-span",
		"zipkin-collector-host", "zipkin-collector-port", "zipkin-service-name", "zipkin-sample-rate", "jaeger-collector-host", "jaeger-collector-port", "jaeger-endpoint",
		"jaeger-service-name", "jaeger-propagation-format", "jaeger-sampler-type", "jaeger-sampler-param", "jaeger-sampler-host", "jaeger-sampler-port", "jaeger-trace-context-header-name",
		"jaeger-debug-header", "jaeger-baggage-header", "jaeger-tracer-baggage-header-prefix", "datadog-collector-host", "datadog-collector-port", "datadog-service-name",
		"datadog-environment", "datadog-operation-name-override", "datadog-priority-sampling", "datadog-sample-rate")
	add("ingress-nginx itself no longer has it; limit-rps and limit-rpm limit each node.", "global-rate-limit-memcached-host", "global-rate-limit-memcached-port",
		"global-rate-limit-memcached-connect-timeout", "global-rate-limit-memcached-max-idle-timeout", "global-rate-limit-memcached-pool-size", "global-rate-limit-status-code")
	return out
}
