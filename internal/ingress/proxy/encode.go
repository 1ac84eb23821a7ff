package proxy

import (
	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
)

// encode has the body of the answer that is about to be passed on changed by a filter, if one wants that. It returns the
// length that the client is told.
func (f *flow) encode(length int64) int64 {
	h := f.srv.hooks.load()
	if h.Encode == nil || length == 0 {
		return length
	}
	e := h.Encode(&f.x, length, clientWriter{f.down})
	if e == nil {
		return length
	}
	f.down = &encodedDown{downstream: f.down, encoder: e}
	return -1
}

// clientWriter is a downstream as a writer.
type clientWriter struct{ downstream }

// Write implements io.Writer.
func (w clientWriter) Write(p []byte) (int, error) {
	if err := w.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// encodedDown is a client whose answer's body goes through an Encoder.
type encodedDown struct {
	downstream
	encoder exchange.Encoder
	ended   bool
}

func (d *encodedDown) start(status int, phrase []byte, h *h1.Header, length int64, body bool) error {
	err := d.downstream.start(status, phrase, h, length, body)
	if err != nil {
		d.drop()
	}
	return err
}

func (d *encodedDown) write(p []byte) error {
	_, err := d.encoder.Write(p)
	return err
}

func (d *encodedDown) flush() error {
	if !d.ended {
		if err := d.encoder.Flush(); err != nil {
			return err
		}
	}
	return d.downstream.flush()
}

func (d *encodedDown) finish(trailer *h1.Header) error {
	d.ended = true
	if err := d.encoder.Close(); err != nil {
		d.downstream.abort()
		return err
	}
	return d.downstream.finish(trailer)
}

func (d *encodedDown) abort() {
	d.drop()
	d.downstream.abort()
}

func (d *encodedDown) drop() {
	if !d.ended {
		d.ended = true
		d.encoder.Abort()
	}
}
