package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// source gives the files of an archive by name, any number of times.
type source interface {
	Open(name string) (io.ReadCloser, error)
	Size(name string) (int64, error)
	Close() error
}

// openSource opens a directory or a tar. A compressed tar is unpacked to
// scratch first, since images need its files in another order.
func openSource(ctx context.Context, path, scratch string) (source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		return dirSource{root}, nil
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: neither a file nor a directory; give what a pipe has as standard input, which is called -", ErrNotImage)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return openArchive(ctx, f, scratch)
}

// openArchive takes over f.
func openArchive(ctx context.Context, f *os.File, scratch string) (source, error) {
	f, err := uncompressed(ctx, f, scratch, maxArchive, newSpace(scratch))
	if err != nil {
		return nil, err
	}
	src, err := indexTar(ctx, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return src, nil
}

// spool opens an archive that can only be read once, by way of a nameless file.
func spool(ctx context.Context, r io.Reader, scratch string) (source, error) {
	f, err := nameless(scratch)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { done <- err }()
		defer recoverAs(&err)
		err = copyBounded(ctx, f, r, maxArchive, newSpace(scratch))
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		// A read of a terminal or a pipe ends when something comes, if ever.
		go func() {
			<-done
			f.Close()
		}()
		return nil, ctx.Err()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return openArchive(ctx, f, scratch)
}

func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "archive-*")
	if err == nil {
		os.Remove(f.Name())
	}
	return f, err
}

func copyBounded(ctx context.Context, to io.Writer, from io.Reader, limit int64, room *space) error {
	n, err := io.Copy(roomyWriter{to, room}, io.LimitReader(contextReader{ctx, from}, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("it is larger than the limit of %d bytes", limit)
	}
	return err
}

// maxArchive bounds an uncompressed archive, in bytes. It has to fit on the disk
// as well, see [space].
const maxArchive = 64 << 30

// uncompressed returns f, or in its place a nameless file with f's content
// uncompressed.
func uncompressed(ctx context.Context, f *os.File, scratch string, limit int64, room *space) (*os.File, error) {
	br := bufio.NewReaderSize(f, 256<<10)
	if magic, _ := br.Peek(4); !bytes.HasPrefix(magic, gzipMagic) && !bytes.HasPrefix(magic, zstdMagic) {
		return f, nil // read through ReadAt from here on: the offset is no matter
	}
	defer f.Close()
	zr, err := decompress(br)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotImage, err)
	}
	defer zr.Close()
	plain, err := nameless(scratch)
	if err != nil {
		return nil, err
	}
	if err := copyBounded(ctx, plain, zr, limit, room); err != nil {
		plain.Close()
		return nil, fmt.Errorf("uncompress: %w", err)
	}
	return plain, nil
}

// roomyWriter writes as long as there is room on the disk.
type roomyWriter struct {
	w    io.Writer
	room *space
}

func (r roomyWriter) Write(p []byte) (int, error) {
	if err := r.room.take(int64(len(p)), 0); err != nil {
		return 0, err
	}
	return r.w.Write(p)
}

// dirSource is an OCI layout in a directory.
type dirSource struct{ root *os.Root }

// Open takes files only: to open a named pipe would wait for whoever writes to it.
func (d dirSource) Open(name string) (io.ReadCloser, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		if err == nil {
			err = fmt.Errorf("%w: %s in it is not a file", ErrNotImage, name)
		}
		return nil, err
	}
	return f, nil
}

// Close implements source.
func (d dirSource) Close() error { return d.root.Close() }

func (d dirSource) Size(name string) (int64, error) {
	info, err := d.root.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// tarSource knows where in the tar each file is.
type tarSource struct {
	f     *os.File
	files map[string]tarFile
	links map[string]string
}

type tarFile struct{ offset, size int64 }

// Bounds on an archive of images: a few blobs each, with names of a hundred bytes.
const (
	maxFiles = 100_000
	maxName  = 1024 // bytes
)

func indexTar(ctx context.Context, f *os.File) (*tarSource, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t := &tarSource{f: f, files: map[string]tarFile{}, links: map[string]string{}}
	// A section can seek, so that the reader skips what it need not read; and
	// its position after Next is where the file's content begins.
	sec := io.NewSectionReader(f, 0, info.Size())
	tr := tar.NewReader(sec)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hdr, err := tr.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: read it as a tar: %w; accepted is %s", ErrNotImage, err, Accepted)
		}
		if n == maxFiles {
			return nil, fmt.Errorf("%w: it holds more than %d files", ErrNotImage, maxFiles)
		}
		if len(hdr.Name) > maxName || len(hdr.Linkname) > maxName {
			return nil, fmt.Errorf("%w: the name of a file in it is longer than the limit of %d bytes", ErrNotImage, maxName)
		}
		name := path.Clean(strings.TrimPrefix(hdr.Name, "/"))
		switch hdr.Typeflag {
		case tar.TypeReg:
			at, err := sec.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			t.files[name] = tarFile{at, hdr.Size}
		case tar.TypeSymlink:
			// Older `docker save` links layers that are the same.
			t.links[name] = path.Join(path.Dir(name), hdr.Linkname)
		case tar.TypeLink:
			t.links[name] = path.Clean(hdr.Linkname)
		}
	}
}

func (t *tarSource) find(name string) (tarFile, error) {
	at := path.Clean(name)
	for range 8 {
		if file, ok := t.files[at]; ok {
			return file, nil
		}
		next, ok := t.links[at]
		if !ok {
			break
		}
		at = next
	}
	return tarFile{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (t *tarSource) Open(name string) (io.ReadCloser, error) {
	file, err := t.find(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(t.f, file.offset, file.size)), nil
}

func (t *tarSource) Size(name string) (int64, error) {
	file, err := t.find(name)
	return file.size, err
}

func (t *tarSource) Close() error { return t.f.Close() }

// contextReader ends a long copy when the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
