package filter

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// compressor compresses the bodies of answers by Brotli or gzip.
type compressor struct {
	most    int64
	running atomic.Int64
	writers [gzip.BestCompression + 1]sync.Pool // of *gzipBody, by level; 0 is stateless
	brotlis brotlis
}

// stateless is the level that keeps nothing in memory between two pieces of a body, and so compresses less.
const stateless = 0

func (c *compressor) init(most int) {
	if most == 0 {
		most = 128
	}
	c.most = int64(most)
	c.brotlis.init(c)
	for level := range c.writers {
		how := level
		if level == stateless {
			how = gzip.StatelessCompression
		}
		c.writers[level].New = func() any {
			z, err := gzip.NewWriterLevel(io.Discard, how)
			if err != nil {
				return nil // the levels are those that there are
			}
			return &gzipBody{of: c, level: level, z: z}
		}
	}
}

// encode compresses an answer if the settings and the client want that (enable-brotli, brotli-*, use-gzip, gzip-*), by
// Brotli where the client takes both. As with ingress-nginx, these are
// answers with 200, 403 or 404 of certain media types and of some length, which are not encoded and may be
// transformed. Those that differ by the client's Accept-Encoding say so in Vary, compressed or not. A stream of events is
// never compressed, for its events are to arrive one by one.
func (a *after) encode(x *exchange.Exchange, length int64, w io.Writer) exchange.Encoder {
	g, b := x.Settings.Gzip, x.Settings.Brotli
	g, b = wanted(x, g, length), wanted(x, b, length)
	if g == nil && b == nil {
		return nil
	}
	h := x.Response
	if !h.HasToken(h1.Vary, "Accept-Encoding") && !h.HasToken(h1.Vary, "*") {
		_ = h.AddString(h1.Vary, "Accept-Encoding")
	}
	if x.Version == exchange.HTTP10 {
		return nil
	}
	var z exchange.Encoder
	coding := "br"
	if b != nil && accepts(x.Header, coding, "") {
		z = a.compress.beginBrotli(b.Level, w)
	}
	if z == nil && g != nil && accepts(x.Header, "gzip", "x-gzip") {
		coding = "gzip"
		z = a.compress.begin(g.Level, w)
	}
	if z == nil {
		return nil
	}
	_ = h.SetString(h1.ContentEncoding, coding)
	h.DelName("Accept-Ranges")
	h.DelName("Content-MD5")
	weaken(h)
	return z
}

// wanted is the compression if it is on and the answer is one that it is for, else nil.
func wanted(x *exchange.Exchange, c *table.Compression, length int64) *table.Compression {
	if c == nil || !compressible(x, c, length) {
		return nil
	}
	return c
}

// compressible tells whether an answer is one that clients may get compressed.
func compressible(x *exchange.Exchange, g *table.Compression, length int64) bool {
	h := x.Response
	switch {
	case x.Status != 200 && x.Status != 403 && x.Status != 404:
		return false
	case length >= 0 && length < g.MinLength, h.Has(h1.ContentEncoding), h.HasName("Content-Range"), h.HasToken(h1.CacheControl, "no-transform"):
		return false
	}
	media, _, _ := bytes.Cut(h.Get(h1.ContentType), []byte(";"))
	var room [128]byte
	t := view(appendLower(room[:0], bytes.TrimSpace(media)))
	switch {
	case t == "", t == "text/event-stream", strings.HasPrefix(t, "application/grpc"):
		return false
	}
	return slices.Contains(g.Types, t) || slices.Contains(g.Types, "*")
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// accepts tells whether a request takes answers in a coding (RFC 9110, 12.5.3): by one of its names, or by "*" where it is
// not named.
func accepts(h *h1.Header, name, alias string) bool {
	if !h.Has(h1.AcceptEncoding) {
		return false
	}
	star := false
	for v := range h.Values("Accept-Encoding") {
		rest := view(v)
		for rest != "" {
			var item string
			item, rest, _ = strings.Cut(rest, ",")
			coding, params, _ := strings.Cut(item, ";")
			switch coding = strings.Trim(coding, " \t"); {
			case strings.EqualFold(coding, name), alias != "" && strings.EqualFold(coding, alias):
				return weight(params) > 0
			case coding == "*":
				star = weight(params) > 0
			}
		}
	}
	return star
}

// weight is the value of q in parameters, 1 without one, 0 for one that is none.
func weight(params string) float64 {
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		name, v, ok := strings.Cut(strings.Trim(p, " \t"), "=")
		if !ok || !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(v, 64)
		if err != nil || q > 1 {
			return 0
		}
		return q
	}
	return 1
}

// weaken makes the ETag one that does not promise equal bytes (RFC 9110, 8.8.1). What is no ETag is removed.
func weaken(h *h1.Header) {
	tag := h.Get(h1.ETag)
	switch {
	case len(tag) == 0 || bytes.HasPrefix(tag, []byte("W/")):
	case tag[0] != '"':
		h.Del(h1.ETag)
	default:
		_ = h.SetString(h1.ETag, "W/"+string(tag))
	}
}

// begin returns an Encoder. Where as many are at work as may be, it is one that takes no memory.
func (c *compressor) begin(level int, w io.Writer) exchange.Encoder {
	level = min(max(level, gzip.BestSpeed), gzip.BestCompression)
	if c.running.Add(1) > c.most {
		c.running.Add(-1)
		level = stateless
	}
	z, ok := c.writers[level].Get().(*gzipBody)
	if !ok {
		return nil
	}
	z.z.Reset(w)
	return z
}

// gzipBody implements exchange.Encoder.
type gzipBody struct {
	of    *compressor
	level int
	z     *gzip.Writer
}

// Write implements io.Writer.
func (g *gzipBody) Write(p []byte) (int, error) { return g.z.Write(p) }

// Flush has come out what was written.
func (g *gzipBody) Flush() error { return g.z.Flush() }

// Close ends the body.
func (g *gzipBody) Close() error {
	err := g.z.Close()
	g.Abort()
	return err
}

// Abort gives the memory back.
func (g *gzipBody) Abort() {
	g.z.Reset(io.Discard)
	if g.level != stateless {
		g.of.running.Add(-1)
	}
	g.of.writers[g.level].Put(g)
}
