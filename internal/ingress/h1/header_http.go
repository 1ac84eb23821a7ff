package h1

import "net/http"

// ToHTTP adds the fields to dst under net/http's canonical names, for HTTP/2.
// Host is left out, as net/http keeps it elsewhere.
func (h *Header) ToHTTP(dst http.Header) {
	for i := range h.fields {
		f := &h.fields[i]
		if f.id == Host {
			continue
		}
		name := http.CanonicalHeaderKey(string(h.nameOf(f)))
		dst[name] = append(dst[name], string(h.valueOf(f)))
	}
}
