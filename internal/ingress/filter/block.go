package filter

import (
	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

// blocked tells whether the settings shut the client out (block-cidrs, block-user-agents, block-referers).
func (b *before) blocked(x *exchange.Exchange, s *table.Settings) bool {
	return len(s.BlockCIDRs) > 0 && b.prefixes.contains(s.BlockCIDRs, x.Client.Addr()) ||
		len(s.BlockAgents) > 0 && anyValue(s.BlockAgents, x.Header, h1.UserAgent) ||
		len(s.BlockReferers) > 0 && anyValue(s.BlockReferers, x.Header, h1.Referer)
}

// anyValue tells whether a pattern matches one of the values of a field; one that isn't there is empty, as nginx has it.
func anyValue(patterns []*regex.Regexp, h *h1.Header, id h1.ID) bool {
	if !h.Has(id) {
		return anyPattern(patterns, nil)
	}
	for i := range h.Len() {
		if h.FieldID(i) == id {
			if _, v := h.Field(i); anyPattern(patterns, v) {
				return true
			}
		}
	}
	return false
}

func anyPattern(patterns []*regex.Regexp, v []byte) bool {
	for _, re := range patterns {
		// A text that costs a pattern too many steps was made to get past it.
		if ok, err := re.MatchBytes(v); ok || err != nil {
			return true
		}
	}
	return false
}

// otherName tells whether the client's certificate has another name than the host asks for (auth-tls-match-cn). As with
// nginx, a request without a certificate, or without TLS, has the empty name.
func otherName(x *exchange.Exchange, want *table.ClientTLS) bool {
	if want.MatchCN == nil {
		return false
	}
	ok, err := want.MatchCN.Match(x.Lookup(table.VarSSLClientSDN, ""))
	return !ok || err != nil
}
