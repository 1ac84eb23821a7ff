package nginx

import (
	"time"

	"minato/internal/ingress/table"
)

// location reads what annotations can set too, for both classes.
func (r *settingsReader) location() {
	both := func(set func(*table.Location)) { r.d.each(func(c *ClassDefaults) { set(&c.Location) }) }
	r.locationFlags(both)
	seconds := func(key string, to func(*table.Location, time.Duration)) {
		set(r, key, positive(parseSeconds), func(v time.Duration) { both(func(l *table.Location) { to(l, v) }) })
	}
	seconds("proxy-connect-timeout", func(l *table.Location, v time.Duration) { l.ConnectTimeout = v })
	seconds("proxy-read-timeout", func(l *table.Location, v time.Duration) { l.ReadTimeout = v })
	seconds("proxy-send-timeout", func(l *table.Location, v time.Duration) { l.SendTimeout = v })
	set(r, "proxy-next-upstream-timeout", parseSeconds, func(v time.Duration) { both(func(l *table.Location) { l.Retry.Total = v }) })
	set(r, "proxy-next-upstream-tries", parseInt, func(v int) { both(func(l *table.Location) { l.Retry.Tries = v }) })
	set(r, "proxy-next-upstream", func(s string) (table.Retry, error) { return parseRetry(s, r.d.Nginx.Location.Retry) },
		func(v table.Retry) { both(func(l *table.Location) { l.Retry = v }) })
	set(r, "retry-non-idempotent", parseBool, func(v bool) { both(func(l *table.Location) { l.Retry.NonIdempotent = l.Retry.NonIdempotent || v }) })
	r.locationSizes(both)
	set(r, "proxy-cookie-domain", parseReplacement, func(v *table.Replacement) { both(func(l *table.Location) { l.CookieDomain = v }) })
	set(r, "proxy-cookie-path", parseReplacement, func(v *table.Replacement) { both(func(l *table.Location) { l.CookiePath = v }) })
	if from, ok := r.values["proxy-redirect-from"]; ok {
		to, hasTo := r.values["proxy-redirect-to"]
		rep, wrong, err := replacement(from, to, hasTo)
		if err != nil {
			r.bad(wrong, err)
		} else {
			both(func(l *table.Location) { l.ProxyRedirect = rep })
		}
	} else if _, ok := r.values["proxy-redirect-to"]; ok {
		r.find("proxy-redirect-to", ReasonSettingDiffers, true, "it does nothing without proxy-redirect-from.")
	}
	set(r, "custom-http-errors", func(s string) ([]int, error) { return parseCodes(s, 300, 599) }, func(v []int) { both(func(l *table.Location) { l.CustomErrors = v }) })
	if v, ok := r.values["whitelist-source-range"]; ok {
		list := r.prefixes("whitelist-source-range", v) // what can't be read lets nobody in
		both(func(l *table.Location) { l.Allow = list })
	}
	if v, ok := r.values["denylist-source-range"]; ok {
		list := r.prefixes("denylist-source-range", v)
		both(func(l *table.Location) { l.Deny = list })
	}
	r.tracing(both)
}

func (r *settingsReader) locationFlags(both func(func(*table.Location))) {
	boolean := func(key string, parse func(string) (bool, error), to func(*table.Location, bool)) {
		set(r, key, parse, func(v bool) { both(func(l *table.Location) { to(l, v) }) })
	}
	boolean("preserve-trailing-slash", parseBool, func(l *table.Location, v bool) { l.PreserveTrailingSlash = v })
	boolean("use-port-in-redirects", parseBool, func(l *table.Location, v bool) { l.UsePortInRedirects = v })
	boolean("relative-redirects", parseBool, func(l *table.Location, v bool) { l.RelativeRedirects = v })
	boolean("disable-proxy-intercept-errors", parseBool, func(l *table.Location, v bool) { l.KeepErrors = v })
	boolean("proxy-http-version", parseHTTP10, func(l *table.Location, v bool) { l.HTTP10 = v })
	boolean("proxy-request-buffering", parseOnOff, func(l *table.Location, v bool) { l.RequestBuffering = v })
	boolean("proxy-buffering", parseOnOff, func(l *table.Location, v bool) { l.Buffering.Enabled = v })
}

func (r *settingsReader) locationSizes(both func(func(*table.Location))) {
	size := func(key string, parse func(string) (int64, error), to func(*table.Location, int64)) bool {
		return set(r, key, parse, func(v int64) { both(func(l *table.Location) { to(l, v) }) })
	}
	size("proxy-body-size", parseSize, func(l *table.Location, v int64) { l.BodySize = v })
	size("client-body-buffer-size", parseSize, func(l *table.Location, v int64) { l.RequestBuffer = v })
	size("proxy-buffer-size", positive(parseSize), func(l *table.Location, v int64) { l.Buffering.HeaderSize, l.Buffering.Busy = v, 2*v })
	size("proxy-busy-buffers-size", parseSize, func(l *table.Location, v int64) { l.Buffering.Busy = v })
	size("proxy-max-temp-file-size", parseSize, func(l *table.Location, v int64) { l.Buffering.MaxTempFile = v })
	set(r, "proxy-buffers-number", positive(parseInt), func(v int) { both(func(l *table.Location) { l.Buffering.Buffers = v }) })
	var pace table.Pace
	field(r, "limit-rate", &pace.Rate, parseKB)
	field(r, "limit-rate-after", &pace.After, parseKB)
	if pace != (table.Pace{}) {
		both(func(l *table.Location) { l.Pace = &pace })
	}
}

func (r *settingsReader) tracing(both func(func(*table.Location))) {
	set(r, "enable-opentelemetry", pointer(parseBool), func(v *bool) { both(func(l *table.Location) { l.Tracing = v }) })
	set(r, "opentelemetry-trust-incoming-span", pointer(parseBool), func(v *bool) { both(func(l *table.Location) { l.TracingTrust = v }) })
}

func (r *settingsReader) upstream() {
	set(r, "service-upstream", parseBool, func(v bool) { r.d.each(func(c *ClassDefaults) { c.Upstream.ServiceUpstream = v }) })
	set(r, "load-balance", parseBalance, func(v table.LoadBalance) { r.d.each(func(c *ClassDefaults) { c.Upstream.LoadBalance = v }) })
}
