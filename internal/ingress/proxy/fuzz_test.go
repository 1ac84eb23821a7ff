package proxy

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"testing"
)

// FuzzFastCGI: whatever an endpoint sends, reading it ends, and what is taken as a header is one.
func FuzzFastCGI(f *testing.F) {
	record := func(kind byte, text string) string {
		return string([]byte{1, kind, 0, 1, byte(len(text) >> 8), byte(len(text)), 0, 0}) + text
	}
	f.Add([]byte(record(fcgiStdout, "Status: 404 Not Found\r\nA: b\r\n\r\nbody") + record(fcgiStdout, "") + record(fcgiEnd, "12345678")))
	f.Add([]byte(record(fcgiStderr, "oops") + record(fcgiStdout, "Location: /x\n\n")))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	s, err := New(Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fl := newFlow(s)
		c := &cgiReader{rd: bufio.NewReader(bytes.NewReader(in)), srv: s}
		if c.head(fl, 1<<10) != nil {
			return
		}
		if fl.resp.Status < 200 || fl.resp.Status > 999 {
			t.Errorf("status %d", fl.resp.Status)
		}
		for i := range fl.resp.Header.Len() {
			if name, value := fl.resp.Header.Field(i); bytes.ContainsAny(name, "\r\n: ") || bytes.ContainsAny(value, "\r\n\x00") {
				t.Errorf("field %q: %q", name, value)
			}
		}
		if n, _ := io.Copy(io.Discard, c); n > int64(len(in)) {
			t.Errorf("%d bytes of %d", n, len(in))
		}
	})
}
