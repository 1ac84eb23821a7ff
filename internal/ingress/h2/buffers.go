package h2

import "sync"

// Sizes of buffers. What is read holds the largest frame that is accepted, with its header.
const (
	frameHeaderSize = 9
	maxFrame        = 16 << 10
	inSize          = 32 << 10
	outSize         = 8 << 10
	keepOut         = 128 << 10
	keepBody        = 16 << 10
)

// Buffers are what connections share. The zero value is ready for use, by any number of goroutines.
type Buffers struct {
	in, out, streams sync.Pool
}

func (b *Buffers) getIn() *[]byte {
	if p, ok := b.in.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, inSize)
	return &p
}

func (b *Buffers) getOut() *[]byte {
	if p, ok := b.out.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, 0, outSize)
	return &p
}

func (b *Buffers) putOut(p *[]byte) {
	if cap(*p) <= keepOut {
		*p = (*p)[:0]
		b.out.Put(p)
	}
}

func (b *Buffers) getStream() *Stream {
	if s, ok := b.streams.Get().(*Stream); ok {
		return s
	}
	return &Stream{}
}
