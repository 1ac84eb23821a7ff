package nginx

func observeAnnotations() []Annotation {
	const group = "Logs and traces"
	row := func(name, values, def, example, note string, key bool) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault, Values: values, Default: def, Example: example, Note: note, Key: key}
	}
	traces := row("enable-opentelemetry", "bool", "false", "true", "Whether requests have the header traceparent.", true)
	traces.Support, traces.Difference = Differs, "The header is made, or passed on with a new span; no spans are sent to a collector."
	name := row("opentelemetry-operation-name", "a text with variables", "none", "HTTP $request_method", "No spans are sent to a collector, so nobody would see the name; traceparent is passed on without one.", true)
	name.Support = Refused
	return []Annotation{
		row("enable-access-log", "bool", "true", "false", "Whether requests are logged.", false),
		row("enable-rewrite-log", "bool", "false", "true", "Whether rewrites are logged.", false),
		traces,
		row("opentelemetry-trust-incoming-span", "bool", "true", "false", "Whether the client's traceparent is believed.", true),
		name,
	}
}

func readObserve(r *reader) {
	l := &r.opts.Location
	on := !l.NoAccessLog
	into(r, "enable-access-log", &on, parseBool)
	l.NoAccessLog = !on
	into(r, "enable-rewrite-log", &l.RewriteLog, parseBool)
	into(r, "enable-opentelemetry", &l.Tracing, pointer(parseBool))
	into(r, "opentelemetry-trust-incoming-span", &l.TracingTrust, pointer(parseBool))
}

// pointer makes a parser of a field that can be absent.
func pointer[T any](parse func(string) (T, error)) func(string) (*T, error) {
	return func(s string) (*T, error) {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		return &v, nil
	}
}
