package h1

import (
	"net/http"
	"slices"
	"strings"
)

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

// AddHTTP appends the fields of src, sorted by name, those that HTTP/1 cannot carry
// left out: pseudo-fields, names that are no token, values with control bytes. The
// number of those is returned.
func (h *Header) AddHTTP(src http.Header) (dropped int) {
	var few [32]string
	names := few[:0]
	for name := range src {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	for _, name := range names {
		for _, value := range src[name] {
			if h.AddName(name, value) != nil {
				dropped++
			}
		}
	}
	return dropped
}
