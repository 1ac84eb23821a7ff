package image

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"minato/internal/runtime/registry"
)

// emptyLayers are lower directories with nothing in them.
var emptyLayers = [...]string{"empty-1", "empty-2"}

// maxPadding bounds what may follow an archive's end marker, in bytes; tar fills
// up a record, which is 10 KiB by default.
const maxPadding = 64 << 20

// blob is a layer's archive, compressed or not.
type blob struct {
	diffID string
	size   int64 // as stored, for progress; 0 where unknown
	open   func(ctx context.Context) (io.ReadCloser, error)
}

// layerName makes a directory name of a digest: short, since a mount call has
// to name every layer of an image in one page, and still 128 bits of it.
func layerName(digest string) (string, error) {
	sum, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil || len(sum) != sha256.Size {
		return "", fmt.Errorf("layer digest %q: only sha256 is supported", digest)
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])), nil
}

// chainID names a layer together with all layers below it.
func chainID(parent, diffID string) string {
	if parent == "" {
		return diffID
	}
	sum := sha256.Sum256([]byte(parent + " " + diffID))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// layerReady returns what is known of a layer that is unpacked already.
func (s *Store) layerReady(name string) (Layer, bool) {
	var l Layer
	data, err := os.ReadFile(s.layerDir(name) + ".json")
	if err != nil || json.Unmarshal(data, &l) != nil {
		return l, false
	}
	_, err = os.Stat(s.layerDir(name))
	return l, err == nil
}

// unpackBlob unpacks into a new directory under tmp and returns it.
func (s *Store) unpackBlob(ctx context.Context, b blob, m moved, space *space, read func(int)) (_ string, res unpacked, err error) {
	dir := filepath.Join(s.dir, "tmp", randomName())
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", res, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
			os.Remove(dir + ".tape")
		}
	}()
	rc, err := b.open(ctx)
	if err != nil {
		return "", res, err
	}
	defer rc.Close()
	plain, err := decompress(countingReader{rc, read})
	if err != nil {
		return "", res, fmt.Errorf("layer %s: %w", b.diffID, becauseOfDigest(ctx, rc, err))
	}
	defer plain.Close()
	sum := sha256.New()
	tee, err := newTaper(io.TeeReader(plain, sum), dir+".tape", space)
	if err != nil {
		return "", res, err
	}
	defer func() {
		taped, cerr := tee.close()
		if taped {
			res.tarSize = tee.size
		}
		if err == nil {
			err = cerr
		}
	}()
	if res, err = unpackTar(ctx, tee, dir, m, space); err != nil {
		return "", res, fmt.Errorf("layer %s: %w", b.diffID, becauseOfDigest(ctx, rc, err))
	}
	// Archives are padded after their end marker; the digest covers that too.
	padding, err := io.Copy(io.Discard, io.LimitReader(contextReader{ctx, tee}, maxPadding+1))
	if err != nil {
		return "", res, fmt.Errorf("layer %s: %w", b.diffID, err)
	}
	if padding > maxPadding {
		return "", res, fmt.Errorf("layer %s: more than the limit of %d bytes follow the end of its archive", b.diffID, maxPadding)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != b.diffID {
		return "", res, fmt.Errorf("layer %s: its content has the digest %s: the file is damaged", b.diffID, got)
	}
	return dir, res, nil
}

// becauseOfDigest reads the rest of a blob that could not be unpacked: if it is not
// what it should be, that is why.
func becauseOfDigest(ctx context.Context, r io.Reader, err error) error {
	if ctx.Err() != nil || errors.Is(err, unix.ENOSPC) || errors.Is(err, registry.ErrDigest) {
		return err
	}
	if _, rerr := io.Copy(io.Discard, contextReader{ctx, r}); errors.Is(rerr, registry.ErrDigest) {
		return rerr
	}
	return err
}

// lowerLink is the error for a directory that an archive leaves out, and that
// is a symbolic link in the layers below.
type lowerLink struct{ dir, target string }

func (l lowerLink) Error() string {
	return fmt.Sprintf("directory %s is a symbolic link to %s in a lower layer", l.dir, l.target)
}

// inheritAttributes gives the directories that an archive leaves out the
// owner, mode and attributes that they have in the layers below.
func (s *Store) inheritAttributes(dir string, implicit, lower []string) error {
	for _, p := range implicit {
		for i := len(lower) - 1; i >= 0; i-- {
			done, err := inheritFrom(dir, s.layerDir(lower[i]), p)
			if err != nil {
				return fmt.Errorf("directory %s that the archive leaves out: %w", p, err)
			}
			if done {
				break
			}
		}
	}
	return nil
}

// inheritFrom gives the directory p of dir the owner and the mode that it has in
// layer; false where layer has nothing there.
func inheritFrom(dir, layer, p string) (bool, error) {
	// Each part is looked at by itself: one that is hidden in this layer is
	// hidden for good, and links are the container's, not ours to follow.
	at, seen := layer, ""
	for part := range strings.SplitSeq(path.Clean(p), "/") {
		at, seen = filepath.Join(at, part), path.Join(seen, part)
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return false, newLowerLink(seen, at)
		}
		if !info.IsDir() {
			return true, nil // replaced by a directory of its own
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(at, &st); err != nil {
		return false, err
	}
	return true, copyAttributes(dir, p, &st)
}

// copyAttributes gives the directory p of dir an owner and a mode. A later entry
// of the archive may have put a link in its place, or in the place of a
// directory above: that one says itself what it is like, and where it leads
// must not be touched.
func copyAttributes(dir, p string, st *unix.Stat_t) error {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, p, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Fchmod(fd, st.Mode&0o7777)
}

func newLowerLink(dir, at string) error {
	target, err := os.Readlink(at)
	if err != nil {
		return err
	}
	if !path.IsAbs(target) {
		target = path.Join("/", path.Dir(dir), target)
	}
	return lowerLink{dir, strings.TrimPrefix(path.Clean(target), "/")}
}

// What compressed data begins with.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// decompress recognises gzip and zstd by their first bytes; anything else is
// taken as it is.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	magic, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		return gzip.NewReader(br)
	case bytes.HasPrefix(magic, zstdMagic):
		d, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

type countingReader struct {
	r     io.Reader
	count func(int)
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.count(n)
	return n, err
}
