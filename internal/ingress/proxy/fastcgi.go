package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// Types of records and the one role of the FastCGI specification, 1.0, section 8.
const (
	fcgiBegin  = 1
	fcgiEnd    = 3
	fcgiParams = 4
	fcgiStdin  = 5
	fcgiStdout = 6
	fcgiStderr = 7

	fcgiResponder = 1
	fcgiHead      = 8
	fcgiMost      = 0xfff8 // bytes of a record, so that none needs padding
)

var (
	errFastCGI = errors.New("the endpoint does not speak FastCGI")
	errCGIHead = errors.New("the answer's header is no CGI header, or too large")
)

// attemptFastCGI asks an endpoint in FastCGI, on a connection for this request alone as nginx has it, and passes the answer on.
func (f *flow) attemptFastCGI(ctx context.Context, loc *table.Location, ep *endpoint, began int64) (o outcome, sent bool) {
	u, err := f.srv.dial(ctx, ep, &ep.plain, nil, orDuration(loc.ConnectTimeout, 5*time.Second))
	a := &f.x.Attempts[len(f.x.Attempts)-1]
	a.Connect = time.Duration(clock() - began)
	switch {
	case err != nil && isTimeout(err):
		return outcomeConnectTimeout, false
	case err != nil:
		return outcomeRefused, false
	}
	defer u.close()
	u.timeout = orDuration(loc.ReadTimeout, time.Minute)
	f.look(u.stop, began)
	u.within(orDuration(loc.SendTimeout, time.Minute))
	written := make(chan struct{})
	go func() {
		defer close(written)
		f.writeFastCGI(u, loc.FastCGI)
	}()
	c := &cgiReader{rd: bufio.NewReaderSize(u, 16<<10), srv: f.srv, endpoint: ep.text}
	err = c.head(f, orInt64(loc.Buffering.HeaderSize, 4<<10))
	if err != nil {
		if !f.looked() {
			o = outcomeGone
		} else if o = errorOutcome(err, u); errors.Is(err, errCGIHead) || errors.Is(err, errFastCGI) {
			o = outcomeInvalid
		}
		u.interrupt()
		<-written
		return o, true
	}
	a.Header = time.Duration(clock() - began)
	a.Status = f.resp.Status
	if h := f.srv.hooks.load(); h.Replace != nil && f.resp.Status >= 300 {
		f.x.Status, f.x.Response = f.resp.Status, &f.resp.Header
		if f.replacement(h, f.resp.Status, true) {
			f.looked()
			u.interrupt()
			<-written
			return outcomeReplace, true
		}
	}
	f.passFastCGI(c)
	f.looked()
	u.interrupt()
	<-written
	return outcomeAnswer, true
}

// writeFastCGI sends the request. What fails is seen by the reader of the answer.
func (f *flow) writeFastCGI(u *upstreamConn, opts *table.FastCGI) {
	w := &recordWriter{w: bufio.NewWriterSize(u.conn, 32<<10)}
	w.record(fcgiBegin, []byte{0, fcgiResponder, 0, 0, 0, 0, 0, 0})
	params := f.fastCGIParams(opts)
	for len(params) > 0 {
		n := min(len(params), fcgiMost)
		w.record(fcgiParams, params[:n])
		params = params[n:]
	}
	w.record(fcgiParams, nil)
	if body := f.body.reader(f); body != nil {
		buf := make([]byte, 16<<10)
		for w.err == nil {
			n, err := body.Read(buf)
			if n > 0 {
				w.record(fcgiStdin, buf[:n])
				u.within(u.timeout)
			}
			if err != nil {
				break
			}
		}
	}
	w.record(fcgiStdin, nil)
	if w.err == nil {
		_ = w.w.Flush()
	}
}

// recordWriter writes records; the first error stays.
type recordWriter struct {
	w   *bufio.Writer
	err error
}

func (w *recordWriter) record(kind byte, content []byte) {
	if w.err != nil {
		return
	}
	head := [fcgiHead]byte{1, kind, 0, 1}
	binary.BigEndian.PutUint16(head[4:], uint16(len(content)))
	if _, w.err = w.w.Write(head[:]); w.err == nil {
		_, w.err = w.w.Write(content)
	}
}

// fastCGIParams are nginx's fastcgi_params, the request's fields as HTTP_*, and what the Ingress adds.
func (f *flow) fastCGIParams(opts *table.FastCGI) []byte {
	x := &f.x
	var dst []byte
	own := map[string]bool{}
	if opts != nil {
		for i := range opts.Params {
			own[opts.Params[i].Name] = true
		}
	}
	add := func(name, value string) {
		if !own[name] {
			dst = appendParam(dst, name, value)
		}
	}
	script := x.Path
	if opts != nil && strings.HasSuffix(script, "/") {
		script += opts.Index
	}
	target := x.Target
	add("QUERY_STRING", x.Query)
	add("REQUEST_METHOD", x.Method)
	add("CONTENT_TYPE", string(x.Header.Get(h1.ContentType)))
	length := ""
	if n := f.body.contentLength(); n > 0 || f.expectsLength() {
		length = strconv.FormatInt(n, 10)
	}
	add("CONTENT_LENGTH", length)
	add("SCRIPT_NAME", script)
	add("REQUEST_URI", target)
	add("DOCUMENT_URI", x.Path)
	add("DOCUMENT_ROOT", "/etc/nginx/html")
	add("SERVER_PROTOCOL", x.Version.String())
	add("REQUEST_SCHEME", x.Scheme)
	if x.Scheme == "https" {
		add("HTTPS", "on")
	}
	add("GATEWAY_INTERFACE", "CGI/1.1")
	add("SERVER_SOFTWARE", "minato")
	add("REMOTE_ADDR", x.Client.Addr().String())
	add("REMOTE_PORT", strconv.Itoa(int(x.Client.Port())))
	add("SERVER_ADDR", x.Local.Addr().String())
	add("SERVER_PORT", strconv.Itoa(int(x.Local.Port())))
	add("SERVER_NAME", x.Host)
	add("REDIRECT_STATUS", "200")
	for name, value := range f.cgiFields() {
		add(name, value)
	}
	if opts != nil {
		for i := range opts.Params {
			dst = appendParam(dst, opts.Params[i].Name, x.Expand(&opts.Params[i].Value))
		}
	}
	return dst
}

// cgiFields yields the fields for the backend under their CGI names, those of one name joined (RFC 3875, 4.1.18).
func (f *flow) cgiFields() func(yield func(name, value string) bool) {
	return func(yield func(string, string) bool) {
		h := &f.x.Forward
		seen := map[string]bool{}
		for i := range h.Len() {
			field, _ := h.Field(i)
			name := cgiName(field)
			if seen[name] || name == "HTTP_CONTENT_TYPE" || name == "HTTP_CONTENT_LENGTH" || name == "HTTP_PROXY" {
				continue
			}
			seen[name] = true
			var value []byte
			for j := i; j < h.Len(); j++ {
				other, v := h.Field(j)
				if cgiName(other) != name {
					continue
				}
				if j > i && name == "HTTP_COOKIE" {
					value = append(value, "; "...)
				} else if j > i {
					value = append(value, ", "...)
				}
				value = append(value, v...)
			}
			if !yield(name, string(value)) {
				return
			}
		}
	}
}

func cgiName(field []byte) string {
	name := make([]byte, 0, len(field)+len("HTTP_"))
	name = append(name, "HTTP_"...)
	for _, c := range bytes.ToUpper(field) {
		if c == '-' {
			c = '_'
		}
		name = append(name, c)
	}
	return string(name)
}

// appendParam appends a name and a value as FastCGI has them.
func appendParam(dst []byte, name, value string) []byte {
	dst = appendParamLength(appendParamLength(dst, len(name)), len(value))
	return append(append(dst, name...), value...)
}

func appendParamLength(dst []byte, n int) []byte {
	if n < 0x80 {
		return append(dst, byte(n))
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n)|1<<31)
}

// cgiReader reads what an endpoint writes to its standard output.
type cgiReader struct {
	rd       *bufio.Reader
	srv      *Server
	endpoint string
	left     int // of the record at hand
	padding  int
	ended    bool
}

// Read implements io.Reader.
func (c *cgiReader) Read(p []byte) (int, error) {
	for c.left == 0 {
		if c.ended {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.rd.Read(p[:min(len(p), c.left)])
	c.left -= n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next goes on to the next record of the output.
func (c *cgiReader) next() error {
	if _, err := c.rd.Discard(c.padding); err != nil {
		return unexpected(err)
	}
	c.padding = 0
	var head [fcgiHead]byte
	if _, err := io.ReadFull(c.rd, head[:]); err != nil {
		return unexpected(err)
	}
	if head[0] != 1 || head[2] != 0 || head[3] != 1 {
		return errFastCGI
	}
	n := int(binary.BigEndian.Uint16(head[4:]))
	c.padding = int(head[6])
	switch head[1] {
	case fcgiStdout:
		c.left = n
		return nil
	case fcgiEnd:
		c.ended = true
	case fcgiStderr:
		return c.tell(n)
	default:
		return errFastCGI
	}
	_, err := c.rd.Discard(n)
	return unexpected(err)
}

// tell logs what the endpoint has written to its error output.
func (c *cgiReader) tell(n int) error {
	text := make([]byte, min(n, 1<<10))
	if _, err := io.ReadFull(c.rd, text); err != nil {
		return unexpected(err)
	}
	if n > 0 {
		c.srv.cfg.Logger.Warn("An endpoint of FastCGI has reported an error", "endpoint", c.endpoint, "text", string(text))
	}
	_, err := c.rd.Discard(n - len(text))
	return unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// head reads the CGI header into f.resp (RFC 3875, 6): Status, or a Location, says what the status is.
func (c *cgiReader) head(f *flow, most int64) error {
	p := &f.resp
	p.Reset()
	p.Status = 200
	statusSet := false
	line := make([]byte, 0, 256)
	one := make([]byte, 1)
	for read := int64(0); ; read++ {
		if read >= most {
			return errCGIHead
		}
		if _, err := io.ReadFull(c, one); err != nil {
			if err == io.EOF {
				return errCGIHead
			}
			return err
		}
		if one[0] != '\n' {
			line = append(line, one[0])
			continue
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return errCGIHead
		}
		value = bytes.TrimSpace(value)
		if strings.EqualFold(string(name), "Status") {
			status, _, _ := bytes.Cut(value, []byte(" "))
			n, err := strconv.Atoi(string(status))
			if err != nil || n < 200 || n > 999 {
				return errCGIHead
			}
			p.Status, statusSet = n, true
		} else if p.Header.AddName(string(name), string(value)) != nil {
			return errCGIHead
		}
		line = line[:0]
	}
	if !statusSet && p.Header.Has(h1.Location) {
		p.Status = 302
	}
	return nil
}

// passFastCGI passes the answer on to the client.
func (f *flow) passFastCGI(c *cgiReader) {
	x, p := &f.x, &f.resp
	length := int64(-1)
	if v := p.Header.Get(h1.ContentLength); v != nil {
		if n, err := strconv.ParseUint(string(v), 10, 62); err == nil {
			length = int64(n)
		}
	}
	p.Header.RemoveHopByHop(false)
	x.Status, x.Response, x.FromBackend = p.Status, &p.Header, true
	f.finishHeader(&p.Header)
	bodied := mayHaveBody(p.Status) && f.method != h1.MethodHead
	if bodied {
		length = f.encode(length)
	}
	f.begun = true
	if f.down.start(p.Status, nil, &p.Header, length, bodied) != nil {
		f.down.abort()
		return
	}
	buf := f.srv.copies.Get().(*[]byte)
	defer f.srv.copies.Put(buf)
	a := &x.Attempts[len(x.Attempts)-1]
	for {
		n, err := c.Read(*buf)
		a.Bytes += int64(n)
		if n > 0 {
			if f.down.write((*buf)[:n]) != nil || c.rd.Buffered() == 0 && f.down.flush() != nil {
				f.down.abort()
				return
			}
		}
		switch {
		case err == io.EOF:
			_ = f.down.finish(nil) // the client has gone if this fails
			return
		case err != nil:
			f.down.abort()
			return
		}
	}
}
