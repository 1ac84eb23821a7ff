package filter

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

func gzipped() *table.Compression {
	return &table.Compression{Level: 1, MinLength: 256, Types: []string{"application/json", "text/html", "text/plain"}}
}

// encoded has an answer's body go through the filter. It returns what comes out, and whether it is compressed.
func encoded(t *testing.T, a *after, x *exchange.Exchange, length int64, body string) (string, bool) {
	t.Helper()
	var out bytes.Buffer
	e := a.encode(x, length, &out)
	if e == nil {
		return body, false
	}
	if _, err := io.WriteString(e, body); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain), true
}

// TestGzip: which answers are compressed, and what their headers say (use-gzip, gzip-*; nginx's gzip with gzip_proxied any,
// gzip_vary on and gzip_http_version 1.1).
func TestGzip(t *testing.T) {
	body := strings.Repeat("words and more words. ", 100)
	const vary, yes = "Vary: Accept-Encoding\n", "Vary: Accept-Encoding\nContent-Encoding: gzip\n"
	accept := func(v string) func(*exchange.Exchange) {
		return func(x *exchange.Exchange) { _ = x.Header.AddName("Accept-Encoding", v) }
	}
	all := gzipped()
	all.Types = []string{"*"}
	for _, c := range []struct {
		name   string
		gzip   *table.Compression
		change func(*exchange.Exchange)
		length int64
		fields []string
		want   string // what the header has beyond fields, as changed
	}{
		{"off", nil, accept("gzip"), -1, []string{"Content-Type", "text/html"}, ""},
		{"wanted", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html"}, yes},
		{"of known length", gzipped(), accept("deflate, gzip;q=0.5, br"), 2200, []string{"Content-Type", "Application/JSON; charset=utf-8"}, yes},
		{"any", gzipped(), accept("*"), -1, []string{"Content-Type", "text/html"}, yes},
		{"not asked for", gzipped(), nil, -1, []string{"Content-Type", "text/html"}, vary},
		{"declined", gzipped(), accept("gzip;q=0, *"), -1, []string{"Content-Type", "text/html"}, vary},
		{"other codings", gzipped(), accept("br, identity"), -1, []string{"Content-Type", "text/html"}, vary},
		{"HTTP/1.0", gzipped(), func(x *exchange.Exchange) { accept("gzip")(x); x.Version = exchange.HTTP10 }, -1, []string{"Content-Type", "text/html"}, vary},
		{"404", gzipped(), func(x *exchange.Exchange) { accept("gzip")(x); x.Status = 404 }, -1, []string{"Content-Type", "text/html"}, yes},
		{"500", gzipped(), func(x *exchange.Exchange) { accept("gzip")(x); x.Status = 500 }, -1, []string{"Content-Type", "text/html"}, ""},
		{"a range", gzipped(), func(x *exchange.Exchange) { accept("gzip")(x); x.Status = 206 }, -1, []string{"Content-Type", "text/html"}, ""},
		{"a range with 200", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "Content-Range", "bytes 0-9/10"}, ""},
		{"small", gzipped(), accept("gzip"), 255, []string{"Content-Type", "text/html"}, ""},
		{"encoded", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "Content-Encoding", "br"}, ""},
		{"no-transform", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "Cache-Control", "public, No-Transform"}, ""},
		{"other type", gzipped(), accept("gzip"), -1, []string{"Content-Type", "image/png"}, ""},
		{"no type", gzipped(), accept("gzip"), -1, nil, ""},
		{"all types", all, accept("gzip"), -1, []string{"Content-Type", "image/png"}, yes},
		{"events", all, accept("gzip"), -1, []string{"Content-Type", "text/event-stream; charset=utf-8"}, ""},
		{"gRPC", all, accept("gzip"), -1, []string{"Content-Type", "application/grpc+proto"}, ""},
		{"ETag", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "ETag", `"abc"`}, `ETag: W/"abc"` + "\n" + yes},
		{"weak ETag", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "ETag", `W/"abc"`}, `ETag: W/"abc"` + "\n" + yes},
		{"no ETag", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "ETag", `abc`}, yes},
		{"ETag, not compressed", gzipped(), nil, -1, []string{"Content-Type", "text/html", "ETag", `"abc"`}, `ETag: "abc"` + "\n" + vary},
		{"ranges and digest", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "Accept-Ranges", "bytes", "Content-MD5", "x"}, yes},
		{"Vary is there", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "Vary", "Origin, accept-encoding"}, "Vary: Origin, accept-encoding\nContent-Encoding: gzip\n"},
		{"Vary of more", gzipped(), accept("gzip"), -1, []string{"Content-Type", "text/html", "Vary", "Origin"}, "Vary: Origin\n" + yes},
	} {
		a := newTestAfter(t, nil)
		x := afterExchange(&table.Location{})
		x.Settings.Gzip = c.gzip
		for i := 0; i+1 < len(c.fields); i += 2 {
			_ = x.Response.AddName(c.fields[i], c.fields[i+1])
		}
		before := answerFields(x)
		if c.change != nil {
			c.change(x)
		}
		got, compressed := encoded(t, a, x, c.length, body)
		if got != body {
			t.Errorf("%s: the body became %q", c.name, got)
		}
		if compressed != strings.Contains(c.want, "gzip") {
			t.Errorf("%s: compressed %t", c.name, compressed)
		}
		fields := answerFields(x)
		if c.want == "" && fields != before || c.want != "" && !strings.HasSuffix(fields, c.want) {
			t.Errorf("%s: %q, not %q", c.name, fields, c.want)
		}
		if compressed && (strings.Contains(fields, "Accept-Ranges") || strings.Contains(fields, "Content-MD5")) {
			t.Errorf("%s: %q", c.name, fields)
		}
		if n := a.compress.running.Load(); n != 0 {
			t.Errorf("%s: %d compressions are running", c.name, n)
		}
	}
}

// TestGzipStream: what was flushed has arrived, and an answer that breaks off gives back what it took.
func TestGzipStream(t *testing.T) {
	a := newTestAfter(t, nil)
	x := afterExchange(&table.Location{}, "Accept-Encoding", "gzip")
	x.Settings.Gzip = gzipped()
	_ = x.Response.AddName("Content-Type", "text/plain")
	read, write := io.Pipe()
	e := a.encode(x, -1, write)
	go func() {
		_, _ = io.WriteString(e, "first")
		_ = e.Flush()
	}()
	r, err := gzip.NewReader(read)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "first" {
		t.Fatalf("%q, %v", got, err)
	}
	read.Close()
	e.Abort()
	if n := a.compress.running.Load(); n != 0 {
		t.Errorf("%d compressions are running", n)
	}
}

// TestGzipBound: no more answers are compressed with memory of their own than may be; the others are compressed all the
// same, and come as they are written.
func TestGzipBound(t *testing.T) {
	a := newTestAfter(t, func(c *afterConfig) { c.Compressions = 2 })
	begin := func(w io.Writer) *gzipBody {
		x := afterExchange(&table.Location{}, "Accept-Encoding", "gzip")
		x.Settings.Gzip = gzipped()
		_ = x.Response.AddName("Content-Type", "text/plain")
		return a.encode(x, -1, w).(*gzipBody)
	}
	first, second := begin(io.Discard), begin(io.Discard)
	var out bytes.Buffer
	third := begin(&out)
	if first.level != 1 || second.level != 1 || third.level != stateless {
		t.Fatalf("levels %d, %d, %d", first.level, second.level, third.level)
	}
	first.Abort()
	if l := begin(io.Discard).level; l != 1 {
		t.Errorf("after one has ended, the level is %d", l)
	}
	text := strings.Repeat("words and more words. ", 100)
	_, _ = io.WriteString(third, text)
	if err := third.Flush(); err != nil || out.Len() == 0 {
		t.Errorf("after a flush, %d bytes have come; %v", out.Len(), err)
	}
	_, _ = io.WriteString(third, text)
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	small := out.Len()
	r, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); string(got) != text+text || err != nil || small > len(text) {
		t.Errorf("%d bytes became %d, and those %d; %v", 2*len(text), small, len(got), err)
	}
	if n := a.compress.running.Load(); n != 2 {
		t.Errorf("%d are running, not 2", n)
	}
}

func TestAcceptsGzip(t *testing.T) {
	for v, want := range map[string]bool{
		"gzip": true, "x-gzip": true, "GZIP": true, "gzip;q=1": true, "gzip; q=0.001": true, "gzip ;q=0": false, "gzip;q=0.0": false, "*": true, "*;q=0": false,
		"*, gzip;q=0": false, "br": false, "": false, "gzipx": false, "gzip;q=x": false, "gzip;q=2": false, "gzip;q=-1": false, "gzip;q=NaN": false, "deflate,gzip": true, "identity;q=1, *;q=0.5": true, "gzip;level=1": true,
	} {
		if got := accepts(afterExchange(nil, "Accept-Encoding", v).Header, "gzip", "x-gzip"); got != want {
			t.Errorf("%q: %t", v, got)
		}
	}
	if accepts(afterExchange(nil).Header, "gzip", "x-gzip") {
		t.Error("a client that says nothing is sent gzip")
	}
}
