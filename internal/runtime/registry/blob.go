package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
)

// Bounds on going on with a transfer that broke off.
const (
	// maxFruitless is how often in a row nothing more may come.
	maxFruitless = 8
	// maxResumed is how often a transfer may break off altogether.
	maxResumed = 100
)

// Blob is a layer or a configuration on its way. Where the transfer breaks off, it
// goes on from there (RFC 9110, range requests), with the same endpoint or the
// next one. It ends with io.EOF only if what was read has the size and the digest
// that were asked for.
type Blob struct {
	repo   *Repository
	ctx    context.Context
	digest string
	size   int64

	at   int64
	sum  hash.Hash
	body io.ReadCloser
	// from is the endpoint that sends; index into repo.clients.
	from      int
	fruitless int
	resumed   int
	err       error
}

// Blob asks for a blob by digest; size is what its descriptor says, in bytes. ctx
// ends the transfer.
func (r *Repository) Blob(ctx context.Context, digest string, size int64) (*Blob, error) {
	if !isSHA256(digest) {
		return nil, fmt.Errorf("digest %s: only sha256 is supported", digest)
	}
	b := &Blob{repo: r, ctx: ctx, digest: digest, size: size, sum: sha256.New()}
	if err := b.open(); err != nil {
		if err := b.resume(err); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// isFinal tells whether asking again is of no use.
func isFinal(err error) bool {
	var panicked *PanicError
	var status *StatusError
	return errors.As(err, &panicked) || errors.As(err, &status) && status.Code/100 == 4 && status.Code != http.StatusTooManyRequests
}

// open asks for the rest of the blob, first where it came from so far.
func (b *Blob) open() error {
	var errs []error
	n := len(b.repo.clients)
	for i := range n {
		at := (b.from + i) % n
		c := b.repo.clients[at]
		if !c.pull {
			continue
		}
		body, err := c.blob(b.ctx, b.digest, b.at)
		if err == nil {
			b.body, b.from = body, at
			return nil
		}
		errs = append(errs, err)
		if b.ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return errors.New("no host in the registry configuration has the capability pull")
	}
	if b.body != nil {
		// It was asked first, and it decides: that others don't have the blob is no
		// reason to give up on the one that has sent some of it.
		errs = append(errs[1:], errs[0])
	}
	return newTriedError(errs)
}

// blob asks for what follows the first at bytes.
func (c *client) blob(ctx context.Context, digest string, at int64) (io.ReadCloser, error) {
	header := http.Header{"Accept": {"application/octet-stream, */*"}, "Accept-Encoding": {"identity"}}
	if at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", at))
	}
	resp, err := c.get(ctx, "blobs/"+digest, header)
	if err != nil {
		return nil, err
	}
	if at == 0 {
		return resp.Body, nil
	}
	if resp.StatusCode == http.StatusPartialContent {
		if want := fmt.Sprintf("bytes %d-", at); !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
			resp.Body.Close()
			return nil, fmt.Errorf("%s sends another range than that from byte %d on: %q", c.name(), at, printable(resp.Header.Get("Content-Range")))
		}
		return resp.Body, nil
	}
	// It knows no ranges, and sends all of it once more.
	if n, err := io.CopyN(io.Discard, resp.Body, at); err != nil {
		resp.Body.Close()
		return nil, fmt.Errorf("%s breaks off after %d bytes, before byte %d that came already: %w", c.name(), n, at, noEOF(err))
	}
	return resp.Body, nil
}

// Read implements io.Reader.
func (b *Blob) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.at == b.size {
			b.err = b.verdict()
			break
		}
		if int64(len(p)) > b.size-b.at {
			p = p[:b.size-b.at]
		}
		n, err := b.body.Read(p)
		if n > 0 {
			b.sum.Write(p[:n])
			b.at += int64(n)
			b.fruitless = 0
			return n, nil // an error comes again with the next call
		}
		if err != nil {
			b.err = b.resume(noEOF(err))
		}
	}
	return 0, b.err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// verdict is io.EOF where all is as it should be.
func (b *Blob) verdict() error {
	if got := "sha256:" + hex.EncodeToString(b.sum.Sum(nil)); got != b.digest {
		return fmt.Errorf("blob %s of %s: %w, %s: the registry does not tell the truth, or what it has is damaged", b.digest, b.repo.clients[b.from].name(), ErrDigest, got)
	}
	return io.EOF
}

// resume goes on after a transfer has broken off, or could not begin. Its error
// ends the blob.
func (b *Blob) resume(cause error) error {
	for {
		b.Close()
		if b.ctx.Err() != nil {
			return context.Cause(b.ctx)
		}
		if isFinal(cause) || b.fruitless == maxFruitless || b.resumed == maxResumed {
			return fmt.Errorf("blob %s: %d bytes of its size of %d came from %s, in %d attempts: %w",
				b.digest, b.at, b.size, b.repo.clients[b.from].name(), b.resumed+1, cause)
		}
		if err := b.repo.pause(b.ctx, b.fruitless); err != nil {
			return err
		}
		b.fruitless++
		b.resumed++
		if cause = b.open(); cause == nil {
			return nil
		}
	}
}

// Close implements io.Closer.
func (b *Blob) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}

// Document reads a small blob as a whole.
func (r *Repository) Document(ctx context.Context, digest string, size int64) ([]byte, error) {
	b, err := r.Blob(ctx, digest, size)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}
