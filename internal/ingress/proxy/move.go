package proxy

import (
	"errors"
	"io"
	"syscall"

	"minato/internal/host/socket"
)

// spliceFrom is the size from which on it is worth to move bytes by splice(2).
const spliceFrom = 64 << 10

// errSource wraps nothing: what is read from has failed, where a caller must know which of the two has.
var errSource = errors.New("the connection that is read from has failed")

// mover moves bytes from one socket to another. While nothing comes it holds neither a buffer nor a pipe.
type mover struct {
	srv      *Server
	src, dst syscall.RawConn
	// beforeRead and beforeWrite are called before each wait, to set deadlines.
	beforeRead, beforeWrite func()
	// moved is called with the number of bytes after each piece.
	moved func(n int)
}

// pipe returns a pipe, or false if there can be none.
func (s *Server) pipe() (socket.Pipe, bool) {
	select {
	case p := <-s.pipes:
		return p, true
	default:
	}
	p, err := socket.NewPipe()
	return p, err == nil
}

// putPipe keeps an empty pipe.
func (s *Server) putPipe(p socket.Pipe) {
	select {
	case s.pipes <- p:
	default:
		p.Close()
	}
}

// copySize is the size of the buffers of a mover.
const copySize = 16 << 10

// move moves up to limit bytes; less than 0 is until the end, whose error is io.EOF. errSource is an error of reading.
func (m *mover) move(limit int64) (total int64, err error) {
	for limit < 0 || total < limit {
		most := int64(1 << 62)
		if limit >= 0 {
			most = limit - total
		}
		n, full, err := m.piece(most)
		total += n
		if err != nil {
			return total, err
		}
		if full && (limit < 0 || limit-total >= spliceFrom) {
			n, err = m.splice(limit - total)
			total += n
			if err != nil {
				return total, err
			}
		}
	}
	return total, nil
}

// piece moves what a buffer holds.
func (m *mover) piece(most int64) (int64, bool, error) {
	if m.beforeRead != nil {
		m.beforeRead()
	}
	var buf *[]byte
	var n int
	var readErr error
	size := int(min(copySize, most))
	err := m.src.Read(func(fd uintptr) bool {
		buf = m.srv.copies.Get().(*[]byte)
		n, readErr = socket.Read(fd, (*buf)[:size])
		if readErr == syscall.EAGAIN {
			m.srv.copies.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	if buf != nil {
		defer m.srv.copies.Put(buf)
	}
	switch {
	case readErr == io.EOF:
		return 0, false, io.EOF
	case err != nil || readErr != nil:
		return 0, false, errSource
	}
	written, err := m.write((*buf)[:n])
	if m.moved != nil && written > 0 {
		m.moved(written)
	}
	return int64(written), n == copySize, err
}

// write writes all of p.
func (m *mover) write(p []byte) (int, error) {
	if m.beforeWrite != nil {
		m.beforeWrite()
	}
	done := 0
	var writeErr error
	err := m.dst.Write(func(fd uintptr) bool {
		for done < len(p) {
			n, err := socket.Write(fd, p[done:])
			if err != nil {
				writeErr = err
				return true
			}
			if n == 0 {
				return false
			}
			done += n
		}
		return true
	})
	if err == nil {
		err = writeErr
	}
	return done, err
}

// splice moves bytes through a pipe until limit (less than 0 is none) or until few come at a time.
func (m *mover) splice(limit int64) (total int64, err error) {
	p, ok := m.srv.pipe()
	if !ok {
		return 0, nil
	}
	held := 0
	defer func() {
		if held > 0 {
			p.Close()
		} else {
			m.srv.putPipe(p)
		}
	}()
	var n int
	var opErr error
	in := func(fd uintptr) bool {
		most := socket.PipeSize
		if limit >= 0 {
			most = int(min(int64(most), limit-total))
		}
		n, opErr = p.Fill(fd, most)
		return opErr != syscall.EAGAIN
	}
	out := func(fd uintptr) bool {
		for held > 0 {
			n, opErr = p.Drain(fd, held)
			if opErr != nil {
				return opErr != syscall.EAGAIN
			}
			held -= n
		}
		return true
	}
	for limit < 0 || total < limit {
		if m.beforeRead != nil {
			m.beforeRead()
		}
		n, opErr = 0, nil
		if err := m.src.Read(in); err != nil || opErr != nil {
			return total, errSource
		}
		if n == 0 {
			return total, io.EOF
		}
		held = n
		piece := held
		if m.beforeWrite != nil {
			m.beforeWrite()
		}
		opErr = nil
		if err := m.dst.Write(out); err != nil {
			return total, err
		}
		if opErr != nil {
			return total, opErr
		}
		total += int64(piece)
		if m.moved != nil {
			m.moved(piece)
		}
		if limit < 0 && piece < copySize {
			return total, nil
		}
	}
	return total, nil
}
