package image

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// A tape is what is in a layer's archive beside the contents of its files, which
// are in the layer's directory: with both, [Store.SaveTar] makes the same archive
// again, to the byte. It is a sequence of pieces, compressed by zstd: a kind, a
// length, and for a run of bytes these bytes, for a file the length of its name
// and its name.
const (
	tapeBytes = 'b'
	tapeFile  = 'f'
)

// maxTapeName bounds a name on a tape, in bytes.
const maxTapeName = unix.PathMax

// errNoTape says that the layer's archive can't be made again.
var errNoTape = errors.New("its archive can't be made again from what is in the store")

// taper reads an archive and writes its tape.
type taper struct {
	r    io.Reader
	file *os.File
	zw   *zstd.Encoder
	buf  *bufio.Writer

	pending []byte // bytes that are not on the tape yet
	inFile  bool
	size    int64 // of the whole archive, so far
	from    int64 // size when the file began
	// broken says that the archive is one that can't be made again.
	broken bool
	err    error
}

// newTaper makes the tape's file at path, as long as there is room for it: what an
// archive has beside files that are kept can be as large as these.
func newTaper(r io.Reader, path string, room *space) (*taper, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	zw, err := zstd.NewWriter(roomyWriter{f, room}, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10))
	if err != nil {
		f.Close()
		return nil, err
	}
	return &taper{r: r, file: f, zw: zw, buf: bufio.NewWriterSize(zw, 32<<10)}, nil
}

// Read implements io.Reader.
func (t *taper) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.size += int64(n)
	if !t.inFile && !t.broken {
		t.pending = append(t.pending, p[:n]...)
		if len(t.pending) >= 64<<10 {
			t.flush()
		}
	}
	if t.err != nil {
		return 0, fmt.Errorf("keep what is beside its files: %w", t.err)
	}
	return n, err
}

func (t *taper) flush() {
	if len(t.pending) == 0 {
		return
	}
	t.put(binary.AppendUvarint([]byte{tapeBytes}, uint64(len(t.pending))))
	t.put(t.pending)
	t.pending = t.pending[:0]
}

func (t *taper) put(p []byte) {
	if t.err == nil && !t.broken {
		_, t.err = t.buf.Write(p)
	}
}

// begin says that what is read from here on is the content of the file name.
func (t *taper) begin() {
	if t == nil {
		return
	}
	t.flush()
	t.inFile, t.from = true, t.size
}

// end says that n bytes were written to the file name.
func (t *taper) end(name string, n int64) {
	if t == nil {
		return
	}
	t.inFile = false
	if t.size-t.from != n {
		t.broken = true // a sparse file, whose holes are not in the archive
		return
	}
	head := binary.AppendUvarint([]byte{tapeFile}, uint64(n))
	head = binary.AppendUvarint(head, uint64(len(name)))
	t.put(append(head, name...))
}

// lose says that the content of a file that is on the tape is gone.
func (t *taper) lose() {
	if t != nil {
		t.broken = true
	}
}

// close ends the tape. It returns false where there is none.
func (t *taper) close() (bool, error) {
	t.flush()
	if t.err == nil {
		t.err = t.buf.Flush()
	}
	err := errors.Join(t.err, t.zw.Close(), t.file.Close())
	if t.broken || err != nil {
		os.Remove(t.file.Name())
	}
	return !t.broken, err
}

// replay writes the archive whose tape is at path; root is an open descriptor of
// the layer's directory.
func replay(w io.Writer, path string, root int) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return errNoTape
	}
	if err != nil {
		return err
	}
	defer f.Close()
	zr, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return err
	}
	defer zr.Close()
	r := bufio.NewReader(zr)
	buf := make([]byte, 128<<10)
	for {
		kind, err := r.ReadByte()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n, err := binary.ReadUvarint(r)
		if err != nil {
			return fmt.Errorf("read tape: %w", err)
		}
		switch kind {
		case tapeBytes:
			_, err = io.CopyBuffer(w, io.LimitReader(r, int64(n)), buf)
		case tapeFile:
			err = replayFile(w, r, root, int64(n), buf)
		default:
			err = fmt.Errorf("a tape has a piece of the unknown kind %q", kind)
		}
		if err != nil {
			return err
		}
	}
}

func replayFile(w io.Writer, r *bufio.Reader, root int, size int64, buf []byte) error {
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return fmt.Errorf("read tape: %w", err)
	}
	if length > maxTapeName {
		return fmt.Errorf("read tape: a name has %d bytes, more than the limit of %d", length, maxTapeName)
	}
	name := make([]byte, length)
	if _, err := io.ReadFull(r, name); err != nil {
		return fmt.Errorf("read tape: %w", err)
	}
	fd, err := unix.Openat2(root, string(name), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return fmt.Errorf("open %s of the layer: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), string(name))
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.LimitReader(f, size)}, buf)
	if err == nil && n < size {
		err = fmt.Errorf("%s of the layer has %d bytes in place of %d", name, n, size)
	}
	return err
}
