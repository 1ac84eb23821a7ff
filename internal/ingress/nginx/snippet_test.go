package nginx

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSnippet(t *testing.T) {
	got := parseSnippet(`
# a comment; with { signs }
more_set_headers "X-A: a;b" 'c}d';
if ($http_x = "1") { # here
  return 403;
}
location ~ ^/a\{2\}${arg_x} { deny all; }
content_by_lua_block { if x then y = { 1 } end }
access_log off`)
	want := []directive{
		{name: "more_set_headers", args: []string{"X-A: a;b", "c}d"}, line: 3},
		{name: "if", args: []string{"($http_x", "=", "1", ")"}, line: 4, block: []directive{{name: "return", args: []string{"403"}, line: 5}}},
		{name: "location", args: []string{"~", `^/a\{2\}${arg_x}`}, line: 7, block: []directive{{name: "deny", args: []string{"all"}, line: 7}}},
		{name: "content_by_lua_block", args: []string{" if x then y = { 1 } end "}, line: 8},
		{name: "access_log", args: []string{"off"}, line: 9},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(directive{})); d != "" {
		t.Error(d)
	}
}

// Each directive that users of ingress-nginx write most is answered with what to use in its place.
func TestAdvice(t *testing.T) {
	for snippet, says := range map[string]string{
		`more_set_headers "X-Frame-Options: DENY";`: "custom-headers",
		`add_header X-A b always;`:                  "custom-headers",
		`proxy_set_header Host internal;`:           "upstream-vhost",
		`proxy_set_header X-Forwarded-Prefix /a;`:   "x-forwarded-prefix",
		`proxy_set_header Upgrade $http_upgrade;`:   "WebSockets need nothing",
		`proxy_set_header X-Custom a;`:              "proxy-set-headers",
		`more_set_input_headers "X-Custom: a";`:     "proxy-set-headers",
		`return 301 https://a/;`:                    "permanent-redirect",
		`return 302 https://a/;`:                    "temporal-redirect",
		`return 403;`:                               "denylist-source-range",
		`return 404;`:                               "leave the path out",
		`deny 10.0.0.1;`:                            "denylist-source-range",
		`allow 10.0.0.0/8;`:                         "allowlist-source-range",
		`rewrite ^/a$ /b break;`:                    "rewrite-target",
		`rewrite ^/a$ /b permanent;`:                "permanent-redirect",
		`if ($scheme = http) { }`:                   "ssl-redirect",
		`if ($http_user_agent ~ bot) { }`:           "block-user-agents",
		`if ($http_x_beta = 1) { }`:                 "canary-by-header",
		`if ($host = a) { }`:                        "rule of that host",
		`client_max_body_size 10m;`:                 "proxy-body-size",
		`proxy_read_timeout 300s;`:                  "proxy-read-timeout",
		`proxy_buffer_size 16k;`:                    "proxy-buffer-size",
		`proxy_buffers 4 16k;`:                      "proxy-buffers-number",
		`large_client_header_buffers 4 32k;`:        "the key large-client-header-buffers",
		`location /x { deny all; }`:                 "a path of the Ingress",
		`gzip on;`:                                  "use-gzip",
		`auth_basic "x";`:                           "auth-type",
		`auth_request /x;`:                          "auth-url",
		`limit_req zone=a;`:                         "limit-rps",
		`error_page 404 /x;`:                        "custom-http-errors",
		`access_log off;`:                           "enable-access-log",
		`set $a b;`:                                 "variables can't be made",
		`access_by_lua_block { ngx.exit(403) }`:     "no code in the proxy",
		`sub_filter a b;`:                           "neither kept nor edited",
		`proxy_hide_header X-Powered-By;`:           "hide-headers",
		`SecRuleEngine On`:                          "web application firewall",
		`something_else on;`:                        "no counterpart",
		`proxy_pass http://x;`:                      "backend of a path",
		`ssl_verify_client on;`:                     "auth-tls-secret",
	} {
		lines := snippetAdvice(snippet)
		if len(lines) == 0 || !strings.Contains(lines[0], says) {
			t.Errorf("%s: %q, want %q", snippet, lines, says)
		}
	}
	// What keeps clients out is not dropped without a word about it.
	for _, snippet := range []string{"deny all;", "auth_basic x;", "auth_request /a;", "satisfy any;"} {
		if lines := snippetAdvice(snippet); !strings.Contains(lines[0], "open") {
			t.Errorf("%s: %q", snippet, lines)
		}
	}
}

// Every annotation and key that advice names is one.
func TestAdviceNamesWhatIsThere(t *testing.T) {
	for _, d := range strings.Fields(`add_header client_max_body_size proxy_connect_timeout proxy_send_timeout proxy_buffers proxy_busy_buffers_size proxy_buffer_size proxy_buffering
		proxy_request_buffering proxy_http_version proxy_next_upstream proxy_next_upstream_tries proxy_next_upstream_timeout proxy_cookie_domain proxy_cookie_path client_body_buffer_size
		limit_rate limit_rate_after satisfy proxy_ssl_name proxy_ssl_server_name proxy_ssl_verify proxy_ssl_verify_depth proxy_ssl_protocols proxy_ssl_ciphers ssl_ciphers
		ssl_prefer_server_ciphers fastcgi_index proxy_max_temp_file_size mirror server_name ssl_crl proxy_ssl_certificate fastcgi_param rewrite_log hash sticky`) {
		name, _, _ := strings.Cut(annotationAdvice(d), " ")
		if _, ok := Lookup(name); !ok {
			t.Errorf("%s: the annotation %q isn't there", d, name)
		}
	}
	for _, d := range strings.Fields(`proxy_hide_header proxy_pass_header gzip brotli client_header_buffer_size large_client_header_buffers client_header_timeout client_body_timeout
		server_tokens ssl_protocols ssl_session_tickets ignore_invalid_headers keepalive_timeout keepalive_requests underscores_in_headers set_real_ip_from real_ip_header log_format http2`) {
		name, _, _ := strings.Cut(keyAdvice(d), " ")
		if k, ok := knownKeys().byName[name]; !ok || k.Support == Refused {
			t.Errorf("%s: the key %q isn't there or is refused", d, name)
		}
	}
}

// The rest of an Ingress with a snippet is served.
func TestSnippetsLeaveTheRest(t *testing.T) {
	o, f := read(t, "configuration-snippet", "more_set_headers 'X: y';\nreturn 404;", "rewrite-target", "/")
	if o.Fault != "" || o.Location.Rewrite == nil || len(f) != 1 || f[0].Reason != ReasonRefused {
		t.Fatalf("%+v, %s", o, messages(f))
	}
	for _, says := range []string{"line 1, more_set_headers", "custom-headers", "line 2, return 404", "the rest of the Ingress is served"} {
		if !strings.Contains(f[0].Message, says) {
			t.Errorf("%q isn't in %q", says, f[0].Message)
		}
	}
	if o, f := read(t, "server-snippet", "# nothing", "enable-modsecurity", "false"); o.Fault != "" || len(f) != 2 || f[0].Warning || f[1].Warning {
		t.Errorf("snippets that ask for nothing: %s", messages(f))
	}
}

// Any text is cut into directives without losing its way, and what is said of it fits one line.
func FuzzSnippet(f *testing.F) {
	for _, s := range []string{"", "a b;", "a { b; } c", "}}}{{{", `"`, "'a\\", "a${b}c{d}", "x_by_lua_block { { } ", "#", "a;#b\nc", strings.Repeat("a{", 100), "\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var depth func([]directive, int)
		depth = func(list []directive, n int) {
			if n > maxDepth+1 {
				t.Fatal("too deep")
			}
			for _, d := range list {
				if d.line < 1 || d.line > strings.Count(s, "\n")+1 {
					t.Fatalf("line %d of %q", d.line, s)
				}
				depth(d.block, n+1)
			}
		}
		depth(parseSnippet(s), 0)
		for _, line := range snippetAdvice(s) {
			if controlCharacter(line) >= 0 {
				t.Fatalf("%q", line)
			}
		}
	})
}
