package nginx

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func refusedAnnotations() []Annotation {
	const group = "What is refused"
	const rest = "The rest of the Ingress is served; ingress-nginx drops all of it unless snippets are allowed."
	snippet := func(name string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Refused, Bad: BadDefault, Values: "directives of nginx", Default: "none",
			Example: `more_set_headers "X-A: b";`, Note: "A finding says for each directive what to use in its place.", Difference: rest}
	}
	row := func(name, values, example, note string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Refused, Bad: BadDefault, Values: values, Default: "none", Example: example, Note: note}
	}
	server, stream := snippet("server-snippet"), snippet("stream-snippet")
	server.Scope, stream.Scope = ScopeHost, ScopeHost
	const waf = "There is no web application firewall; put one before the backend."
	return []Annotation{
		snippet("configuration-snippet"), server, snippet("auth-snippet"), snippet("modsecurity-snippet"), stream,
		row("enable-modsecurity", "bool", "true", waf),
		row("enable-owasp-core-rules", "bool", "true", waf),
		row("modsecurity-transaction-id", "a text", "$request_id", waf),
		row("http2-push-preload", "bool", "true", "Browsers no longer take pushes, and nginx sends none since 1.25."),
	}
}

func readRefused(r *reader) {
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		a, v := known().byName[name], r.values[name]
		if a.Support != Refused {
			continue
		}
		if !strings.HasSuffix(a.Name, "-snippet") {
			// "false" asks for what is so already.
			if on, err := parseBool(v); err == nil && !on {
				r.find(a.Name, ReasonNoEffect, false, "it asks for what is so already.")
				continue
			}
			r.find(a.Name, ReasonRefused, true, "it is not honoured. "+a.Note)
			continue
		}
		lines := snippetAdvice(v)
		if len(lines) == 0 {
			r.find(a.Name, ReasonNoEffect, false, "it has no directive.")
			continue
		}
		r.find(a.Name, ReasonRefused, true, "snippets are not honoured, since they would be configuration of nginx; the rest of the Ingress is served. In their place: "+joined(lines)+".")
	}
}

// joined makes one text of advice that fits an event, whose message has 1,024 bytes at most.
func joined(lines []string) string {
	const limit = 700
	var b strings.Builder
	for i, line := range lines {
		if i > 0 && b.Len()+len(line) > limit {
			fmt.Fprintf(&b, "; and %d more, which minato ingress check lists", len(lines)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return b.String()
}
