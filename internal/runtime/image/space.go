package image

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// How much of the disk images leave free: the cluster's own store and the Pods'
// volumes are on it as well.
const (
	spareShare = 20      // one in so many bytes and files, ...
	spareMost  = 2 << 30 // ... and of bytes no more than this
)

// How much is reserved at a time before the file system is asked again. Other
// writers may take as much meanwhile.
const (
	bytesAtOnce = 256 << 20
	filesAtOnce = 10_000
)

// space is room on a disk for the layers of an image.
type space struct {
	dir string
	// free returns how many bytes and files may still be made.
	free func() (bytes, files int64, err error)

	mu           sync.Mutex
	bytes, files int64 // reserved, not used yet
}

// newSpace is the room that the file system of dir has.
func newSpace(dir string) *space {
	return &space{dir: dir, free: func() (int64, int64, error) {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
		}
		bytes := (int64(st.Bavail) - min(int64(st.Blocks)/spareShare, spareMost/st.Bsize)) * st.Bsize
		if st.Files == 0 {
			return bytes, 1 << 62, nil // a file system that does not count them
		}
		return bytes, int64(st.Ffree) - int64(st.Files)/spareShare, nil
	}}
}

// take reserves room for bytes and files that are about to be written.
func (s *space) take(bytes, files int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes > s.bytes || files > s.files {
		freeBytes, freeFiles, err := s.free()
		if err != nil {
			return err
		}
		if bytes > freeBytes {
			return fmt.Errorf("its %d bytes do not fit on the disk, where images may take %d more (%s): %w", bytes, max(freeBytes, 0), s.dir, unix.ENOSPC)
		}
		if files > freeFiles {
			return fmt.Errorf("the disk has no room for more files (%s): %w", s.dir, unix.ENOSPC)
		}
		s.bytes, s.files = min(freeBytes, max(bytes, bytesAtOnce)), min(freeFiles, filesAtOnce)
	}
	s.bytes -= bytes
	s.files -= files
	return nil
}
