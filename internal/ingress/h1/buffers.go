package h1

import "sync"

// Sizes of the buffers: the smallest suits the head of most messages, and bodies
// are read into bodySize.
const (
	minSize  = 4 << 10
	bodySize = 32 << 10
	classes  = 6 // 4k, 8k, 16k, 32k, 64k, 128k
)

// Buffers is a pool of buffers that Readers share. Its zero value is ready for
// use, by any number of goroutines.
type Buffers struct {
	pools [classes]sync.Pool
}

// buffer is what the pools hold: a pointer to it fits an interface without an
// allocation.
type buffer struct {
	b     []byte
	class int     // -1: larger than any class, not pooled
	next  *buffer // of those that a Reader holds
}

// get returns a buffer of at least size bytes.
func (p *Buffers) get(size int) *buffer {
	for class := range classes {
		if n := minSize << class; n >= size {
			if b, ok := p.pools[class].Get().(*buffer); ok {
				return b
			}
			return &buffer{b: make([]byte, n), class: class}
		}
	}
	return &buffer{b: make([]byte, size), class: -1}
}

// put takes a buffer back; nil is ignored.
func (p *Buffers) put(b *buffer) {
	if b != nil && b.class >= 0 {
		p.pools[b.class].Put(b)
	}
}
