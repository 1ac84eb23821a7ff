package nginx

import (
	"fmt"
	"strings"
	"testing"
)

const annotationsIntro = `# Annotations of Ingresses

Annotations that were written for ingress-nginx are honoured as they are, in Ingresses of both classes, ` + "`minato`" + ` and
` + "`nginx`" + `. The two differ in what holds without annotations ([the end of this page](#the-two-classes)). This page lists all of
them; ` + "`minato ingress check`" + ` says of your own Ingresses what is honoured, what differs and what is refused, before you change
anything. The keys of ingress-nginx's ConfigMap are in [ingress-settings.md](ingress-settings.md).

The prefix is ` + "`nginx.ingress.kubernetes.io/`" + `, or that of ` + "`--annotations-prefix`" + `.

## Values

- **bool** is ` + "`true`" + ` or ` + "`false`" + `, or another form of Go's (1, t, T, TRUE, True and so on).
- **seconds** are a number without a unit: ` + "`60s`" + ` can't be used, as in ingress-nginx, but an event says so.
- **a size** is a number with k, m or g.
- **a text with variables** may have ` + "`$name`" + ` or ` + "`${name}`" + ` of this list: host, http_host, best_http_host, http_*NAME*, request_uri,
  escaped_request_uri, uri, scheme, args, query_string, is_args, arg_*NAME*, cookie_*NAME*, remote_addr, remote_port, remote_user,
  request_method, request_id, req_id, server_name, server_port, server_addr, server_protocol, proxy_add_x_forwarded_for, namespace,
  ingress_name, service_name, service_port, proxy_upstream_name, content_type, content_length, hostname, msec, proxy_protocol_addr,
  realip_remote_addr, ssl_protocol, ssl_cipher, ssl_server_name, ssl_client_s_dn, ssl_client_i_dn, ssl_client_verify,
  ssl_client_fingerprint, ssl_client_serial, ssl_client_escaped_cert; where requests are told apart (upstream-hash-by,
  auth-cache-key) binary_remote_addr too. Other variables can't be used, nor a "$" alone.
- **a pattern** is a regular expression as PCRE has it, with look-around and references, and a bound of steps.
- **[namespace/]name** names an object of the Ingress's own namespace; others only with the key
  allow-cross-namespace-resources.
- A value that is empty is as if the annotation were absent.

Nothing of a value becomes text of a configuration: each is parsed once, variables are filled in as data, and control characters
are refused everywhere.

## Values that can't be used

An event on the Ingress, of reason AnnotationParsingFailed, names the annotation, the value and the remedy. Besides that:

- where **503** is written, all paths of the Ingress answer 503 until it is corrected;
- where **403** is written, all paths of its hosts answer 403;
- otherwise it is as if the annotation were absent.

What was in force before makes no difference: the same Ingress is always served in the same way. In ingress-nginx an Ingress with
such a value keeps what it had, or isn't served if it is new.

## What is not copied

ingress-nginx is open, or surprising, in some cases in which requests had better not pass. Here:

- auth-cache-duration or auth-request-redirect that can't be used close the paths; there, authentication is left out. The same
  holds for the keys global-auth-*.
- auth-realm ` + "`off`" + ` is a realm of that name; there, nobody is asked for a password.
- limit-rps, limit-rpm and limit-connections that can't be used close the paths; there, nothing is limited.
- cors-allow-origin without an origin that can be read allows none; there, it allows all.
- proxy-ssl-verify without proxy-ssl-secret closes the paths; there, the backend's certificate isn't verified.
- proxy-real-ip-cidr without an item that can be read believes nobody; there, everybody.
- A path that a backend may read as one of an Ingress that asks more of clients is answered 400, unless it is rewritten:
  ` + "`" + `/closed/../open` + "`" + `, ` + "`" + `/closed/..%2Fopen` + "`" + `, ` + "`" + `/closed;a` + "`" + `, ` + "`" + `/open/..;/closed` + "`" + `, or the same with backslashes, where addresses or
  credentials guard ` + "`" + `/closed` + "`" + `. There, only one reading counts.
- An annotation that isn't known, or that does nothing without another one, has an event; there, nothing tells of it.
- Snippets don't drop their Ingress: the rest of it is served, and an event says for each directive what to use in its place. If
  a directive kept clients out, the event says that the paths are open until it is replaced.

`

const classesText = `## The two classes

| | class minato | class nginx |
|---|---|---|
| redirect to HTTPS where TLS is set (ssl-redirect) | no | yes |
| limit of bodies (proxy-body-size) | none | 1m |
| bodies are read as a whole first (proxy-request-buffering) | no | yes |
| Strict-Transport-Security (key hsts) | no | yes |

A key that is set in the ConfigMap holds for both.
`

// cell makes text a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func annotationsPage() string {
	var b strings.Builder
	b.WriteString(annotationsIntro)
	b.WriteString("## All annotations\n\n")
	fmt.Fprintf(&b, "What holds for a host or a Service as a whole says so; of several Ingresses that set it, the oldest one wins. All else holds\nfor the paths of its Ingress. Where a key of the same name sets the default, a k stands behind it.\n")
	group := ""
	for _, a := range known().all {
		if a.Group != group {
			group = a.Group
			fmt.Fprintf(&b, "\n### %s\n\n| Annotation | Values | Default | |\n|---|---|---|---|\n", group)
		}
		def := a.Default
		if a.Key {
			def += " (k)"
		}
		text := a.Note
		if a.AliasOf == "" && a.Scope != ScopeLocation {
			text += " For the " + string(a.Scope) + "."
		}
		if len(a.Needs) > 0 {
			text += " Needs " + strings.Join(a.Needs, " or ") + "."
		}
		if a.Bad != BadDefault {
			text += " **" + string(a.Bad) + "**"
		}
		if a.Support == Refused {
			text = "**Refused.** " + text
		}
		if a.Difference != "" {
			text += " *Differs:* " + a.Difference
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", a.Name, cell(a.Values), cell(def), cell(text))
	}
	b.WriteString("\n" + classesText)
	return b.String()
}

const settingsIntro = `# Settings of the Ingress proxy

Settings are keys of a ConfigMap: ` + "`kube-system/minato-ingress`" + `, else ` + "`ingress-nginx/ingress-nginx-controller`" + `, the first that
exists. They are those of ingress-nginx. A value that can't be used is as if the key were absent, and an event on the
ConfigMap says so; what differs from that is below. Values have the forms of [ingress-annotations.md](ingress-annotations.md).

Beside the ConfigMap, ` + "`tcp-services`" + ` and ` + "`udp-services`" + ` pass ports on as they are: the key is a port, the value
` + "`namespace/service:port`" + `, for TCP with ` + "`:PROXY`" + ` behind it to take PROXY protocol, and ` + "`:PROXY`" + ` once more to send it.
`

func settingsPage() string {
	var b strings.Builder
	b.WriteString(settingsIntro)
	group := ""
	for _, k := range knownKeys().all {
		if k.Support == Refused {
			continue
		}
		if k.Group != group {
			group = k.Group
			fmt.Fprintf(&b, "\n## %s\n\n| Key | Values | Default | |\n|---|---|---|---|\n", group)
		}
		text := k.Note
		if k.Difference != "" {
			text += " *Differs:* " + k.Difference
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", k.Name, cell(k.Values), cell(k.Default), cell(text))
	}
	b.WriteString("\n## What is refused\n\nThese keys of ingress-nginx do nothing here; an event on the ConfigMap says so unless the value asks for what is so already.\n\n| Keys | Why |\n|---|---|\n")
	var names []string
	refused := knownKeys().all
	for i, k := range refused {
		if k.Support != Refused {
			continue
		}
		names = append(names, k.Name)
		if i+1 == len(refused) || refused[i+1].Note != k.Note {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(names, ", "), cell(k.Note))
			names = nil
		}
	}
	return b.String()
}

// The documentation is made from the lists that are read: go test ./internal/ingress/nginx -update writes it anew.
func TestDocumentation(t *testing.T) {
	golden(t, "../../../docs/ingress-annotations.md", []byte(annotationsPage()))
	golden(t, "../../../docs/ingress-settings.md", []byte(settingsPage()))
}

// The variables that the documentation lists are those that are read.
func TestDocumentedVariables(t *testing.T) {
	_, list, _ := strings.Cut(annotationsIntro, "of this list: ")
	list, _, _ = strings.Cut(list, "; where requests")
	for item := range strings.SplitSeq(list, ",") {
		name := strings.ReplaceAll(strings.TrimSpace(item), "*NAME*", "x")
		if _, err := ParseText("$"+name, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
