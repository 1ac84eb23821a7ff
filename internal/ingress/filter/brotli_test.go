package filter

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"minato/internal/ingress/table"
)

// TestBrotli: the client gets the coding that both sides have, Brotli first (enable-brotli, brotli-*), and gzip where as many
// answers are compressed by Brotli as may be.
func TestBrotli(t *testing.T) {
	body := strings.Repeat("words and more words. ", 100)
	on := func() *table.Compression {
		return &table.Compression{Level: 4, MinLength: 20, Types: []string{"text/html"}}
	}
	for _, c := range []struct {
		name, accept string
		brotli, gzip *table.Compression
		most         int64
		length       int64
		want, vary   string
	}{
		{"both", "gzip, br", on(), gzipped(), 0, -1, "br", "Accept-Encoding"},
		{"Brotli alone", "gzip, br", on(), nil, 0, -1, "br", "Accept-Encoding"},
		{"declined", "gzip, br;q=0", on(), gzipped(), 0, -1, "gzip", "Accept-Encoding"},
		{"not taken", "gzip", on(), nil, 0, -1, "", "Accept-Encoding"},
		{"too small for gzip alone", "gzip, br", on(), gzipped(), 0, 100, "br", "Accept-Encoding"},
		{"too small for both", "gzip, br", on(), gzipped(), 0, 19, "", ""},
		{"as many as may be", "gzip, br", on(), gzipped(), 1, -1, "gzip", "Accept-Encoding"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newTestAfter(t, nil)
			if c.most > 0 {
				a.compress.most = c.most
				other := a.compress.beginBrotli(1, io.Discard)
				defer other.Abort()
			}
			x := afterExchange(&table.Location{}, "Accept-Encoding", c.accept)
			x.Settings.Gzip, x.Settings.Brotli = c.gzip, c.brotli
			_ = x.Response.AddName("Content-Type", "text/html")
			var out bytes.Buffer
			e := a.encode(x, c.length, &out)
			if got := string(x.Response.GetName("Content-Encoding")); got != c.want || (e != nil) != (c.want != "") {
				t.Fatalf("Content-Encoding is %q, want %q; encoder %v", got, c.want, e)
			}
			if got := string(x.Response.GetName("Vary")); got != c.vary {
				t.Errorf("Vary is %q, want %q", got, c.vary)
			}
			if e == nil {
				return
			}
			_, _ = io.WriteString(e, body)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if c.want != "br" {
				return
			}
			plain, err := io.ReadAll(brotli.NewReader(&out))
			if err != nil || string(plain) != body {
				t.Errorf("the body is %q, %v", plain, err)
			}
			if n := a.compress.running.Load(); n != 0 {
				t.Errorf("%d writers are in use after the end", n)
			}
		})
	}
}
