package regex

import "strings"

// Unquote undoes what nginx's configuration does to the text between double
// quotes, where ingress-nginx puts paths: a backslash before a quote or
// another backslash falls away, and \t, \r and \n become the characters. So
// a path written with two backslashes meant one to PCRE.
func Unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			if j := strings.IndexByte(`"'\trn`, s[i+1]); j >= 0 {
				b.WriteByte("\"'\\\t\r\n"[j])
				i++
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
