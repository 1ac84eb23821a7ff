package nginx

import "strings"

// restricts tells whether a directive keeps clients out: without it the paths are more open than their owner believes.
func restricts(d directive) bool {
	switch d.name {
	case "return":
		return len(d.args) > 0 && len(d.args[0]) == 3 && d.args[0][0] == '4'
	case "deny", "allow", "auth_basic", "auth_request", "auth_digest", "auth_jwt", "ssl_verify_client", "satisfy", "limit_except", "access_by_lua_block":
		return true
	}
	return false
}

// advice says what to use in place of a directive of a snippet.
func advice(d directive) string {
	first := ""
	if len(d.args) > 0 {
		first = d.args[0]
	}
	switch d.name {
	case "proxy_set_header", "grpc_set_header", "more_set_input_headers", "more_clear_input_headers":
		return requestHeaderAdvice(d.name, first)
	case "return":
		return returnAdvice(first)
	case "rewrite":
		return rewriteAdvice(d)
	case "if":
		return conditionAdvice(d)
	case "allow":
		return "use the annotation allowlist-source-range"
	case "deny":
		if first == "all" {
			return "use the annotation allowlist-source-range with the addresses that may pass"
		}
		return "use the annotation denylist-source-range"
	case "access_log":
		if first == "off" {
			return `use the annotation enable-access-log: "false"`
		}
		return "use the keys log-format-upstream and log-format-escape-json"
	case "location":
		return "make it a path of the Ingress (with use-regex for a pattern)"
	case "proxy_pass", "grpc_pass", "fastcgi_pass":
		return "make it the backend of a path; backend-protocol says what is spoken with it"
	case "set", "map", "set_by_lua_block":
		return "variables can't be made; use the request's own where an annotation takes variables"
	}
	if a := annotationAdvice(d.name); a != "" {
		return "use the annotation " + a
	}
	if k := keyAdvice(d.name); k != "" {
		return "use the key " + k + " of the ConfigMap"
	}
	return otherAdvice(d.name)
}

func requestHeaderAdvice(directive, header string) string {
	header, _, _ = strings.Cut(header, ":")
	if directive == "more_clear_input_headers" {
		return "a request's headers can't be removed; the backend must not trust them"
	}
	switch strings.ToLower(header) {
	case "host":
		return "use the annotation upstream-vhost"
	case "x-forwarded-prefix":
		return "use the annotation x-forwarded-prefix"
	case "upgrade", "connection":
		return "leave it out: WebSockets need nothing; connection-proxy-header sets Connection"
	case "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-scheme", "x-scheme", "x-request-id":
		return "leave it out: it is set on every request"
	case "x-original-uri":
		return "use the key proxy-add-original-uri-header"
	case "ssl-client-cert":
		return "use the annotation auth-tls-pass-certificate-to-upstream"
	}
	return "use the key proxy-set-headers of the ConfigMap, which holds for all Ingresses"
}

func returnAdvice(code string) string {
	switch {
	case code == "301" || code == "308":
		return "use the annotations permanent-redirect and permanent-redirect-code"
	case code == "302" || code == "303" || code == "307" || strings.HasPrefix(code, "http"):
		return "use the annotations temporal-redirect and temporal-redirect-code"
	case code == "403" || code == "401":
		return "use denylist-source-range, or auth-type or auth-url, on an Ingress with this path alone"
	case strings.HasPrefix(code, "4") || strings.HasPrefix(code, "5"):
		return "leave the path out of the Ingress, or let it have a backend that answers so"
	}
	return "an answer needs a backend that gives it"
}

func rewriteAdvice(d directive) string {
	switch d.args = append(d.args, ""); {
	case len(d.args) > 3 && d.args[2] == "permanent":
		return "use the annotation permanent-redirect, or rewrite-target with a URL"
	case len(d.args) > 3 && d.args[2] == "redirect":
		return "use the annotation temporal-redirect, or rewrite-target with a URL"
	}
	return "use the annotation rewrite-target with a path that is a pattern"
}

// conditionAdvice goes by the variable that the condition looks at.
func conditionAdvice(d directive) string {
	cond := strings.ToLower(strings.Join(d.args, " "))
	switch {
	case strings.Contains(cond, "$scheme"), strings.Contains(cond, "x_forwarded_proto"), strings.Contains(cond, "$https"):
		return "use the annotation ssl-redirect or force-ssl-redirect"
	case strings.Contains(cond, "$http_user_agent"):
		return "use the key block-user-agents if it keeps clients out"
	case strings.Contains(cond, "$http_referer"), strings.Contains(cond, "$invalid_referer"):
		return "use the key block-referers if it keeps clients out"
	case strings.Contains(cond, "$http_origin"):
		return "use the annotations enable-cors and cors-allow-origin"
	case strings.Contains(cond, "$remote_addr"), strings.Contains(cond, "$geoip"):
		return "use the annotation allowlist-source-range or denylist-source-range"
	case strings.Contains(cond, "$host"), strings.Contains(cond, "$http_host"):
		return "make it a rule of that host, or use from-to-www-redirect or server-alias"
	case strings.Contains(cond, "$request_uri"), strings.Contains(cond, "$uri"):
		return "make it a path of the Ingress (with use-regex for a pattern)"
	case strings.Contains(cond, "$request_method") && strings.Contains(cond, "options"):
		return "use the annotation enable-cors, which answers preflights"
	case strings.Contains(cond, "$http_"):
		return "use canary-by-header with canary-by-header-value if it chooses a backend; else let the backend decide"
	case strings.Contains(cond, "$cookie_"), strings.Contains(cond, "$http_cookie"):
		return "use canary-by-cookie if it chooses a backend; else let the backend decide"
	}
	return "conditions have no counterpart; let the backend decide"
}

// annotationAdvice names the annotation for a directive.
func annotationAdvice(name string) string {
	switch name {
	case "add_header", "more_set_headers", "expires":
		return "custom-headers (a ConfigMap with headers whose names are in the key global-allowed-response-headers)"
	case "client_max_body_size":
		return "proxy-body-size"
	case "proxy_connect_timeout", "grpc_connect_timeout":
		return "proxy-connect-timeout"
	case "proxy_read_timeout", "grpc_read_timeout", "fastcgi_read_timeout":
		return "proxy-read-timeout"
	case "proxy_send_timeout", "grpc_send_timeout", "send_timeout":
		return "proxy-send-timeout"
	case "proxy_buffers":
		return "proxy-buffers-number and proxy-buffer-size"
	case "proxy_busy_buffers_size", "proxy_buffer_size", "proxy_buffering", "proxy_request_buffering", "proxy_http_version",
		"proxy_next_upstream", "proxy_next_upstream_tries", "proxy_next_upstream_timeout", "proxy_cookie_domain", "proxy_cookie_path",
		"client_body_buffer_size", "limit_rate", "limit_rate_after", "satisfy", "proxy_ssl_name", "proxy_ssl_server_name",
		"proxy_ssl_verify", "proxy_ssl_verify_depth", "proxy_ssl_protocols", "proxy_ssl_ciphers", "ssl_ciphers", "ssl_prefer_server_ciphers", "fastcgi_index":
		return strings.ReplaceAll(name, "_", "-")
	case "proxy_max_temp_file_size":
		return "proxy-max-temp-file-size"
	case "proxy_redirect":
		return "proxy-redirect-from and proxy-redirect-to"
	case "proxy_intercept_errors", "error_page":
		return "custom-http-errors with default-backend"
	case "auth_basic", "auth_basic_user_file", "auth_digest":
		return "auth-type with auth-secret"
	case "auth_request", "auth_request_set":
		return "auth-url with auth-response-headers"
	case "limit_req", "limit_req_zone":
		return "limit-rps or limit-rpm"
	case "limit_conn", "limit_conn_zone":
		return "limit-connections"
	case "mirror", "mirror_request_body":
		return "mirror-target and mirror-request-body"
	case "server_name":
		return "server-alias"
	case "ssl_client_certificate", "ssl_verify_client", "ssl_crl", "ssl_verify_depth":
		return "auth-tls-secret and its kin"
	case "proxy_ssl_certificate", "proxy_ssl_certificate_key", "proxy_ssl_trusted_certificate":
		return "proxy-ssl-secret"
	case "fastcgi_param":
		return "fastcgi-params-configmap"
	case "rewrite_log":
		return "enable-rewrite-log"
	case "hash", "ip_hash":
		return "upstream-hash-by"
	case "sticky":
		return "affinity"
	case "absolute_redirect", "port_in_redirect":
		return "relative-redirects or use-port-in-redirects"
	}
	return ""
}

// keyAdvice names the key of the ConfigMap for a directive.
func keyAdvice(name string) string {
	switch name {
	case "proxy_hide_header", "more_clear_headers":
		return "hide-headers"
	case "proxy_pass_header":
		return "allow-backend-server-header"
	case "gzip", "gzip_types", "gzip_min_length", "gzip_comp_level":
		return "use-gzip (with gzip-types, gzip-min-length, gzip-level)"
	case "brotli", "brotli_types", "brotli_min_length", "brotli_comp_level":
		return "enable-brotli (with brotli-types, brotli-min-length, brotli-level)"
	case "client_header_buffer_size", "large_client_header_buffers", "client_header_timeout", "client_body_timeout",
		"server_tokens", "ssl_protocols", "ssl_session_tickets", "ignore_invalid_headers":
		return strings.ReplaceAll(name, "_", "-")
	case "keepalive_timeout":
		return "keep-alive"
	case "keepalive_requests":
		return "keep-alive-requests"
	case "underscores_in_headers":
		return "enable-underscores-in-headers"
	case "set_real_ip_from":
		return "proxy-real-ip-cidr"
	case "real_ip_header", "real_ip_recursive":
		return "enable-real-ip with forwarded-for-header"
	case "log_format":
		return "log-format-upstream"
	case "http2":
		return "use-http2"
	}
	return ""
}

// otherAdvice is for what has no counterpart.
func otherAdvice(name string) string {
	switch {
	case strings.Contains(name, "_by_lua"), strings.HasPrefix(name, "lua_"), strings.HasPrefix(name, "js_"):
		return "there is no code in the proxy; use auth-url for decisions, or do it in the backend"
	case strings.HasPrefix(name, "proxy_cache"), strings.HasPrefix(name, "sub_filter"), name == "proxy_ignore_headers", name == "proxy_no_cache":
		return "answers are neither kept nor edited; put a cache or filter before the backend"
	case strings.HasPrefix(name, "modsecurity"), strings.HasPrefix(name, "Sec"):
		return "there is no web application firewall; put one before the backend"
	case strings.HasPrefix(name, "http2_push"):
		return "leave it out: browsers no longer take pushes"
	case name == "root", name == "alias", name == "try_files", name == "index":
		return "the proxy has no files; let a backend serve them"
	case strings.HasPrefix(name, "grpc_"), name == "tcp_nodelay", name == "tcp_nopush", name == "sendfile", name == "aio",
		name == "chunked_transfer_encoding", name == "proxy_socket_keepalive", name == "reset_timedout_connection", name == "open_file_cache":
		return "leave it out: it is about nginx itself"
	case name == "include", name == "load_module":
		return "there is no configuration of nginx to include"
	case name == "stub_status":
		return "use the metrics"
	case name == "listen", name == "upstream", name == "server":
		return "use the ConfigMaps tcp-services and udp-services, or an Ingress"
	}
	return "it has no counterpart; if it is needed, do it in the backend"
}
