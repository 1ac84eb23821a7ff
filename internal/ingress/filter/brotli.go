package filter

import (
	"io"
	"sync"

	"github.com/andybalholm/brotli"

	"minato/internal/ingress/exchange"
)

// brotliWindow bounds what a compressed answer refers back to: 512 KiB, so that a writer takes a few megabytes at most.
const brotliWindow = 19

// brotlis are writers by level, for answers that are compressed by Brotli (enable-brotli, brotli-*).
type brotlis [brotli.BestCompression + 1]sync.Pool // of *brotliBody

func (b *brotlis) init(of *compressor) {
	for level := range b {
		b[level].New = func() any {
			return &brotliBody{of: of, level: level, z: brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: level, LGWin: brotliWindow})}
		}
	}
}

// beginBrotli returns an Encoder, or nil where as many are at work as may be: Brotli has none that takes no memory.
func (c *compressor) beginBrotli(level int, w io.Writer) exchange.Encoder {
	if c.running.Add(1) > c.most {
		c.running.Add(-1)
		return nil
	}
	level = min(max(level, brotli.BestSpeed), brotli.BestCompression)
	z := c.brotlis[level].Get().(*brotliBody)
	z.z.Reset(w)
	return z
}

// brotliBody implements exchange.Encoder.
type brotliBody struct {
	of    *compressor
	level int
	z     *brotli.Writer
}

// Write implements io.Writer.
func (b *brotliBody) Write(p []byte) (int, error) { return b.z.Write(p) }

// Flush has come out what was written.
func (b *brotliBody) Flush() error { return b.z.Flush() }

// Close ends the body.
func (b *brotliBody) Close() error {
	err := b.z.Close()
	b.Abort()
	return err
}

// Abort gives the memory back.
func (b *brotliBody) Abort() {
	b.z.Reset(io.Discard)
	b.of.running.Add(-1)
	b.of.brotlis[b.level].Put(b)
}
