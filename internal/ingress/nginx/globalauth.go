package nginx

import (
	"fmt"

	"minato/internal/ingress/table"
)

// globalAuth reads the authentication of all Ingresses. What of it can't be used closes them.
func (r *settingsReader) globalAuth() {
	_, ok := r.values["global-auth-url"]
	if !ok {
		for _, k := range globalAuthKeys() {
			if _, ok := r.values[k.Name]; ok {
				r.find(k.Name, ReasonSettingDiffers, true, "it does nothing without global-auth-url.")
			}
		}
		return
	}
	e := newExternal(table.Text{})
	text := func(key string, allowed Vars, check func(string) error) *table.Text {
		var t *table.Text
		closing(r, key, &t, pointer(func(s string) (table.Text, error) {
			if check != nil {
				if err := check(s); err != nil {
					return table.Text{}, err
				}
			}
			return ParseText(s, allowed)
		}))
		return t
	}
	if t := text("global-auth-url", 0, isURL); t != nil {
		e.URL = *t
	}
	closing(r, "global-auth-method", &e.Method, parseMethod)
	e.SignIn = text("global-auth-signin", 0, isURLOrVariable)
	field(r, "global-auth-signin-redirect-param", &e.RedirectParam, parseToken)
	closing(r, "global-auth-response-headers", &e.ResponseHeaders, passedNames)
	e.RequestRedirect = text("global-auth-request-redirect", 0, noSpace)
	e.CacheKey = text("global-auth-cache-key", KeyVars, nil)
	closing(r, "global-auth-cache-duration", &e.CacheDurations, parseCacheDurations)
	field(r, "global-auth-always-set-cookie", &e.AlwaysSetCookie, parseBool)
	if r.d.GlobalFault != "" {
		return
	}
	r.s.GlobalAuth = e
	r.d.each(func(c *ClassDefaults) { c.Location.External = e })
}

// closing is field for what may not be left out: a value that can't be used closes the Ingresses.
func closing[T any](r *settingsReader, key string, f *T, parse func(string) (T, error)) {
	v, ok := r.values[key]
	if !ok {
		return
	}
	parsed, err := parse(v)
	if err == nil {
		*f = parsed
		return
	}
	why := fmt.Sprintf("the value %s can't be used: %v", quoted(v), err)
	if r.d.GlobalFault == "" {
		r.d.GlobalFault = fmt.Sprintf("the key %s of ConfigMap %s: %s", key, r.cm, why)
	}
	r.find(key, ReasonSettingInvalid, true, why+". All Ingresses that don't opt out answer 503 until it is corrected.")
}
