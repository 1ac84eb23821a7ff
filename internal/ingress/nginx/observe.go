package nginx

func observeAnnotations() []Annotation {
	const group = "Logs and traces"
	row := func(name, values, def, example, note string, key bool) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault, Values: values, Default: def, Example: example, Note: note, Key: key}
	}
	return []Annotation{
		row("enable-access-log", "bool", "true", "false", "Whether requests are logged.", false),
		row("enable-rewrite-log", "bool", "false", "true", "Whether rewrites are logged.", false),
		row("enable-opentelemetry", "bool", "false", "true", "Whether requests have the header traceparent.", true),
		row("opentelemetry-trust-incoming-span", "bool", "true", "false", "Whether the client's traceparent is believed.", true),
		row("opentelemetry-operation-name", "a text with variables", "none", "HTTP $request_method", "The name of the span.", true),
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
	if t := r.text("opentelemetry-operation-name", 0, nil); t != nil {
		l.TracingName = t
	}
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
