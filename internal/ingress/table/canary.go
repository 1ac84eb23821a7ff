package table

// Choose says which Upstream gets a request: this one, or that of a canary, which is returned then. The canary's header
// decides first, then its cookie, then its weight (canary-by-header over canary-by-cookie over canary-weight): a header
// or cookie that says neither always nor never leaves the decision to the next. A random number of 32 bits is given in.
// Reason says in one word group what decided; it is "" without canaries.
func (u *Upstream) Choose(l Lookup, random uint32) (chosen *Upstream, canary *CanaryUpstream, reason string) {
	for i := range u.Canaries {
		c := &u.Canaries[i]
		takes, why := c.Canary.takes(l, random)
		if takes {
			return c.Upstream, c, why
		}
		reason = why
	}
	return u, nil, reason
}

// The reasons of Choose.
const (
	reasonHeader  = "by header"
	reasonPattern = "by header: its pattern can't be read, or took too many steps"
	reasonCookie  = "by cookie"
	reasonWeight  = "by weight"
)

func (c *Canary) takes(l Lookup, random uint32) (takes bool, reason string) {
	if c.Header != "" {
		if v := l.Lookup(VarHeader, c.Header); v != "" {
			if takes, reason := c.byHeader(v); reason != "" {
				return takes, reason
			}
		}
	}
	if c.Cookie != "" {
		switch l.Lookup(VarCookie, c.Cookie) {
		case "always":
			return true, reasonCookie
		case "never":
			return false, reasonCookie
		}
	}
	// A total below 100 counts as 100.
	total := max(c.Total, 100)
	return int(uint64(random)*uint64(total)>>32) < c.Weight, reasonWeight
}

// byHeader decides by the header's value; without a reason it doesn't. With a value to compare with, always and never
// mean nothing.
func (c *Canary) byHeader(v string) (takes bool, reason string) {
	switch {
	case c.HeaderValue != "":
		if v == c.HeaderValue {
			return true, reasonHeader
		}
	case c.PatternBroken:
		return false, reasonPattern
	case c.HeaderPattern != nil:
		ok, err := c.HeaderPattern.Match(v)
		if err != nil {
			return false, reasonPattern
		}
		if ok {
			return true, reasonHeader
		}
	case v == "always":
		return true, reasonHeader
	case v == "never":
		return false, reasonHeader
	}
	return false, ""
}
