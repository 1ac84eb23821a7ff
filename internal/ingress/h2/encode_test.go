package h2

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"minato/internal/ingress/h1"
)

func TestEncode(t *testing.T) {
	var h h1.Header
	for _, f := range [][2]string{
		{"Content-Type", "text/plain"}, {"X-Long-" + strings.Repeat("Name", 60), strings.Repeat("v", 300)}, {"Connection", "close"},
		{"Transfer-Encoding", "chunked"}, {"Set-Cookie", "a=b"}, {"Date", "now"}, {"empty", ""}, {"Host", "a"}, {"Accept-Charset", "x"}, {"Accept", "y"},
	} {
		if err := h.AddName(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	block := appendLength(appendFields(appendStatus(nil, 200), &h), 12345)
	fields, err := hpack.NewDecoder(0, nil).DecodeFull(block)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range fields {
		s := f.Name + ": " + f.Value
		if f.Sensitive {
			s += " (secret)"
		}
		got = append(got, s)
	}
	want := []string{":status: 200", "content-type: text/plain", "x-long-" + strings.Repeat("name", 60) + ": " + strings.Repeat("v", 300),
		"set-cookie: a=b (secret)", "date: now", "empty: ", "accept-charset: x", "accept: y", "content-length: 12345"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, status := range []int{100, 103, 200, 201, 204, 206, 301, 304, 400, 404, 431, 499, 500, 502, 999} {
		f, err := hpack.NewDecoder(0, nil).DecodeFull(appendStatus(nil, status))
		if err != nil || len(f) != 1 || f[0].Name != ":status" || f[0].Value != string(appendDigits(status)) {
			t.Errorf("status %d: %v %v", status, f, err)
		}
	}
}

func appendDigits(n int) []byte {
	return []byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)}
}

// FuzzEncode: what is sent is what a decoder reads, in lower case.
func FuzzEncode(f *testing.F) {
	f.Add("X-A", "b", "/path", "GET")
	f.Add("cookie", strings.Repeat("c", 200), "/", "POST")
	f.Fuzz(func(t *testing.T, name, value, path, method string) {
		var h h1.Header
		if h.AddName(name, value) != nil {
			return
		}
		block := appendRequest(nil, &Request{Method: method, Path: path, Authority: "a", Header: &h, Trailers: true, Length: -1})
		fields, err := hpack.NewDecoder(0, nil).DecodeFull(block)
		if err != nil {
			t.Fatal(err)
		}
		_, v := h.Field(0)
		found := h1.Mask(h.FieldID(0))&connectionFields != 0
		for _, f := range fields {
			switch f.Name {
			case ":method":
				found = found && f.Value == method
			case ":path":
				found = found && f.Value == path
			case strings.ToLower(name):
				found = found || f.Value == string(v)
			}
		}
		if !found && strings.ToLower(name) != "te" {
			t.Errorf("%q: %q becomes %v", name, value, fields)
		}
	})
}

// memory is a connection that reads what is given, in pieces, and keeps what is written.
type memory struct {
	in    []byte
	piece int
	out   bytes.Buffer
}

func (m *memory) Read(p []byte) (int, error) {
	if len(m.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.in[:min(len(m.in), m.piece)])
	m.in = m.in[n:]
	return n, nil
}
func (m *memory) Write(p []byte) (int, error)      { return m.out.Write(p) }
func (m *memory) Close() error                     { return nil }
func (m *memory) LocalAddr() net.Addr              { return nil }
func (m *memory) RemoteAddr() net.Addr             { return nil }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// FuzzServer: whatever a client sends, serving it ends, and what it is answered are frames.
func FuzzServer(f *testing.F) {
	var good bytes.Buffer
	fr := http2.NewFramer(&good, nil)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	p := &peer{t: f}
	p.enc = hpack.NewEncoder(&p.buf)
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(getRoot...), EndHeaders: true, EndStream: true})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block(postRoot...), EndHeaders: true})
	_ = fr.WriteDataPadded(3, false, []byte("body"), make([]byte, 3))
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block("x-end", "yes"), EndStream: true})
	_ = fr.WriteContinuation(3, true, p.block("y", "z"))
	_ = fr.WriteWindowUpdate(1, 1000)
	_ = fr.WritePing(false, [8]byte{1})
	_ = fr.WritePriority(5, http2.PriorityParam{StreamDep: 3})
	_ = fr.WriteRSTStream(3, http2.ErrCodeCancel)
	_ = fr.WriteGoAway(0, http2.ErrCodeNo, []byte("bye"))
	f.Add(good.Bytes(), uint8(255))
	f.Add(good.Bytes(), uint8(3))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		m := &memory{in: append([]byte(http2.ClientPreface), in...), piece: 1 + 40*int(piece)}
		c := New(Config{
			Conn: m, Abort: m.Close, Buffers: &Buffers{}, Serve: echo, Now: clock, MaxStreams: 5, MaxHeader: 2 << 10,
			StreamWindow: 1 << 16, Window: 1 << 17,
		})
		c.Run()
		readAll(t, &m.out, false)
	})
}

// FuzzClient: whatever an endpoint sends, a request to it ends.
func FuzzClient(f *testing.F) {
	var good bytes.Buffer
	fr := http2.NewFramer(&good, nil)
	_ = fr.WriteSettings()
	p := &peer{t: f}
	p.enc = hpack.NewEncoder(&p.buf)
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(":status", "103", "link", "x"), EndHeaders: true})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(":status", "200", "a", "b"), EndHeaders: true})
	_ = fr.WriteData(1, false, []byte("body"))
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block("x-end", "yes"), EndHeaders: true, EndStream: true})
	_ = fr.WriteGoAway(1, http2.ErrCodeNo, nil)
	f.Add(good.Bytes(), uint8(255))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		m := &memory{in: in, piece: 1 + 40*int(piece)}
		c := New(Config{
			Client: true, Conn: m, Abort: m.Close, Buffers: &Buffers{}, Now: clock, MaxHeader: 2 << 10, StreamWindow: 1 << 16, Window: 1 << 17,
		})
		c.Reserve()
		var h h1.Header
		s, err := c.Open(&Request{Method: "POST", Authority: "a", Path: "/", Header: &h, Length: -1}, false)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer s.Close()
			_ = s.Write([]byte("body"), true)
			if s.Head(nil) != nil {
				return
			}
			for {
				if _, err := s.Next(); err != nil {
					return
				}
			}
		}()
		c.Run()
		<-ended
		readAll(t, &m.out, true)
	})
}

// readAll demands that what was written are frames.
func readAll(t *testing.T, out *bytes.Buffer, preface bool) {
	if preface && out.Len() > 0 {
		out.Next(len(http2.ClientPreface))
	}
	fr := http2.NewFramer(nil, out)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		if _, err := fr.ReadFrame(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("what is sent: %v", err)
		}
	}
}
