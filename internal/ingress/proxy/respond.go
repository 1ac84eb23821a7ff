package proxy

import (
	"net/http"
	"strconv"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
)

// clientSend is how long a client may take to accept some of what is sent to it (nginx's send_timeout).
const clientSend = time.Minute

// closeSilently is the status that closes a connection without an answer, as with nginx.
const closeSilently = 444

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// answer gives an answer in place of an endpoint's; nil is none.
func (f *flow) answer(a *exchange.Answer) {
	if a == nil {
		return
	}
	x := &f.x
	x.Status = a.Status
	if a.Status == closeSilently || a.Status == statusGone {
		f.down.abort()
		return
	}
	h := &f.own
	h.Reset()
	x.Response, x.FromBackend = h, false
	for i := range a.Headers {
		// What is no field is left out: a filter's text cannot become another field.
		_ = h.AddName(a.Headers[i].Name, a.Headers[i].Value)
	}
	body := a.Body
	bodied := mayHaveBody(a.Status)
	if body == nil && !a.NoPage && bodied && a.Status >= 300 {
		from := len(f.buf)
		f.buf = appendPage(f.buf, a.Status)
		body = f.buf[from:]
		_ = h.SetString(h1.ContentType, "text/html")
	}
	f.finishHeader(h)
	length := int64(len(body))
	if !bodied {
		length = -1
	}
	if f.method == h1.MethodHead {
		bodied = false
	}
	if f.down.start(a.Status, nil, h, length, bodied) != nil {
		return
	}
	if bodied && f.down.write(body) != nil {
		return
	}
	// The client has gone if this fails; there is nobody to tell.
	_ = f.down.finish(nil)
}

// mayHaveBody tells whether an answer of the status has a body (RFC 9110, 6.4.1).
func mayHaveBody(status int) bool { return status >= 200 && status != 204 && status != 304 }

// appendPage appends the proxy's own page for a status.
func appendPage(dst []byte, status int) []byte {
	text := http.StatusText(status)
	switch {
	case status == statusNoCertificate || status == statusBadCertificate:
		text = "SSL certificate error"
	case text == "":
		text = "Error"
	}
	dst = append(dst, "<!doctype html>\n<title>"...)
	dst = appendTitle(dst, status, text)
	dst = append(dst, "</title>\n<h1>"...)
	dst = appendTitle(dst, status, text)
	return append(dst, "</h1>\n"...)
}

// Statuses of nginx's own for client certificates, which it answers as 400.
const (
	statusBadCertificate = 495
	statusNoCertificate  = 496
)

func appendTitle(dst []byte, status int, text string) []byte {
	return append(append(appendInt(dst, int64(status)), ' '), text...)
}

// framed are the fields that say where a message ends: they are the proxy's alone, both ways.
var framed = h1.Mask(h1.ContentLength, h1.TransferEncoding)

// finishHeader makes an answer's header what the client gets: what the settings hide is gone, filters have had their say,
// and what the proxy itself adds is there.
func (f *flow) finishHeader(h *h1.Header) {
	s := f.view.settings
	if !s.BackendServerHeader {
		h.Del(h1.Server)
	}
	if s.ServerTokens && !h.Has(h1.Server) {
		_ = h.SetString(h1.Server, "minato")
	}
	removeAccel(h)
	for _, name := range f.view.hide {
		h.DelName(name)
	}
	for i := range s.AddHeaders {
		h.Replace(s.AddHeaders[i].Name, s.AddHeaders[i].Value)
	}
	if hk := f.srv.hooks.load(); hk.Response != nil {
		hk.Response(&f.x)
	}
	if f.view.hsts != "" && f.x.TLS != nil && s.HSTS.For(f.x.Server) {
		_ = h.SetString(h1.StrictTransportSecurity, f.view.hsts)
	}
	if !h.Has(h1.Date) {
		from := len(f.buf)
		f.buf = f.srv.date.AppendDate(f.buf, f.x.Start)
		_ = h.Add(h1.Date, f.buf[from:])
	}
	h.DelMask(framed)
}

// removeAccel removes what backends tell nginx alone (X-Accel-Redirect and the like), as nginx does.
func removeAccel(h *h1.Header) {
	for i := range h.Len() {
		if name, _ := h.Field(i); isAccel(name) {
			h.DelFunc(func(_ h1.ID, name, _ []byte) bool { return isAccel(name) })
			return
		}
	}
}

func isAccel(name []byte) bool {
	const prefix = "x-accel-"
	if len(name) <= len(prefix) || name[1] != '-' {
		return false
	}
	for i := range len(prefix) {
		if name[i]|0x20 != prefix[i] {
			return false
		}
	}
	return true
}
