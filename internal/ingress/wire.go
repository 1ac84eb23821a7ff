package ingress

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Process and its Helper talk in frames: the length of what follows (four bytes, big-endian), a type, and the content. The
// content is JSON, except for objects. Frames of type frameSockets have open sockets with them.

type frameType byte

const (
	frameHello    frameType = iota + 1 // both: hello, first
	frameConfig                        // to the Helper: facts
	frameSockets                       // both: socketList, with the sockets
	frameObject                        // to the Helper: a key and an object in the API's protobuf
	frameGone                          // to the Helper: a key
	frameBatch                         // to the Helper: what came since the last one is to be served
	frameSynced                        // to the Helper: the same, and nothing is missing any more
	frameDrain                         // to the Helper: accept nothing any more, and end after the last request
	frameState                         // from the Helper: state
	frameFindings                      // from the Helper: findings
	frameApplied                       // from the Helper: the oldest batch that it has not said this of is served
)

const (
	// protocolVersion changes with the frames. A Helper of another build is asked for its sockets and to end, so hello,
	// frameSockets and frameDrain must not change.
	protocolVersion = 1
	// maxFrame bounds a frame: objects are smaller than what the API takes, about 3 MiB.
	maxFrame = 16 << 20
	// maxFDs is how many descriptors the kernel passes with one message.
	maxFDs = 250
	// sendTimeout bounds how long the other end may leave a message unread.
	sendTimeout = 30 * time.Second
)

var errFrame = errors.New("not a frame of this protocol")

// wire sends and receives frames. One goroutine may receive.
type wire struct {
	conn *net.UnixConn
	in   []byte // what was received and is not taken yet, in room
	room []byte
	buf  []byte
	oob  []byte
	fds  []int

	mu sync.Mutex // of writes
}

func newWire(c *net.UnixConn) *wire {
	return &wire{conn: c, buf: make([]byte, 64<<10), oob: make([]byte, syscall.CmsgSpace(4*maxFDs))}
}

// close closes the connection. Sockets that were received and not taken are closed by receive, which then fails.
func (w *wire) close() error { return w.conn.Close() }

// appendFrame adds a frame whose content fill adds.
func appendFrame(to []byte, t frameType, content []byte) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(len(content)+1))
	to = append(to, byte(t))
	return append(to, content...)
}

// send sends frames that were put together by appendFrame.
func (w *wire) send(frames []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := w.conn.Write(frames)
	return err
}

// sendJSON sends one frame.
func (w *wire) sendJSON(t frameType, content any) error {
	b, err := json.Marshal(content)
	if err != nil {
		return err
	}
	if len(b) >= maxFrame {
		return fmt.Errorf("%w: %d bytes", errFrame, len(b))
	}
	return w.send(appendFrame(nil, t, b))
}

// sendSockets sends descriptors of sockets, which stay open here.
func (w *wire) sendSockets(list socketList, files []*os.File) error {
	if len(files) != len(list.Sockets) || len(files) > maxFDs {
		return fmt.Errorf("%w: %d names for %d sockets, of which there can be %d", errFrame, len(list.Sockets), len(files), maxFDs)
	}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return withFDs(files, nil, func(fds []int) error {
		return w.sendWith(appendFrame(nil, frameSockets, b), fds)
	})
}

func (w *wire) sendWith(frame []byte, fds []int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	n, _, err := w.conn.WriteMsgUnix(frame, rights, nil)
	if err != nil {
		return err
	}
	_, err = w.conn.Write(frame[n:])
	return err
}

// withFDs calls fn with the files' numbers, which stay valid meanwhile. Fd would have the sockets block, here and wherever
// else they are open.
func withFDs(files []*os.File, fds []int, fn func([]int) error) error {
	if len(files) == 0 {
		return fn(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = withFDs(files[1:], append(fds, int(fd)), fn) }); err != nil {
		return err
	}
	return inner
}

// frame is what was received. content is valid until the next one is.
type frame struct {
	kind    frameType
	content []byte
}

// receive waits for the next frame.
func (w *wire) receive() (frame, error) {
	for {
		if len(w.in) >= 4 {
			n := int(binary.BigEndian.Uint32(w.in))
			if n < 1 || n > maxFrame {
				return frame{}, w.fail(fmt.Errorf("%w: %d bytes", errFrame, n))
			}
			if len(w.in) >= 4+n {
				f := frame{kind: frameType(w.in[4]), content: w.in[5 : 4+n]}
				w.in = w.in[4+n:]
				return f, nil
			}
		}
		if err := w.fill(); err != nil {
			return frame{}, w.fail(err)
		}
	}
}

// fail closes what nobody takes any more.
func (w *wire) fail(err error) error {
	for _, fd := range w.fds {
		syscall.Close(fd)
	}
	w.fds = nil
	return err
}

// fill reads more.
func (w *wire) fill() error {
	n, oobn, flags, _, err := w.conn.ReadMsgUnix(w.buf, w.oob)
	if oobn > 0 {
		if err := w.takeRights(w.oob[:oobn]); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	case flags&syscall.MSG_CTRUNC != 0:
		return fmt.Errorf("%w: more sockets than a frame has", errFrame)
	}
	if len(w.in) == 0 {
		w.in = w.room[:0]
	}
	moved := len(w.in)+n > cap(w.in)
	w.in = append(w.in, w.buf[:n]...)
	if moved {
		w.room = w.in
	}
	return nil
}

func (w *wire) takeRights(oob []byte) error {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
		}
		w.fds = append(w.fds, fds...)
	}
	return nil
}

// takeSockets reads a frame of type frameSockets. The files are the caller's.
func (w *wire) takeSockets(f frame) (socketList, []*os.File, error) {
	var list socketList
	if err := json.Unmarshal(f.content, &list); err != nil {
		return list, nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	if len(list.Sockets) > len(w.fds) {
		return list, nil, fmt.Errorf("%w: %d sockets are named and %d were passed", errFrame, len(list.Sockets), len(w.fds))
	}
	files := make([]*os.File, 0, len(list.Sockets))
	for i, s := range list.Sockets {
		files = append(files, os.NewFile(uintptr(w.fds[i]), s.Name))
	}
	w.fds = w.fds[len(files):]
	return list, files, nil
}

// hello is the first frame of either end.
type hello struct {
	Version int    `json:"v"`
	Build   string `json:"build"`
	PID     int    `json:"pid"`
}

// appendObject adds a frame with an object.
func appendObject(to []byte, k Key, packed []byte) []byte {
	content := appendKey(make([]byte, 0, len(packed)+len(k.Namespace)+len(k.Name)+16), k)
	return appendFrame(to, frameObject, append(content, packed...))
}

func appendGone(to []byte, k Key) []byte {
	return appendFrame(to, frameGone, appendKey(nil, k))
}

func appendKey(to []byte, k Key) []byte {
	to = append(to, byte(k.Kind))
	for _, s := range []string{k.Namespace, k.Name} {
		to = append(binary.AppendUvarint(to, uint64(len(s))), s...)
	}
	return to
}

// cutKey reads a key, and returns what follows it.
func cutKey(b []byte) (Key, []byte, error) {
	if len(b) == 0 || Kind(b[0]) < KindClass || Kind(b[0]) > lastKind {
		return Key{}, nil, fmt.Errorf("%w: no kind", errFrame)
	}
	k := Key{Kind: Kind(b[0])}
	b = b[1:]
	for _, to := range []*string{&k.Namespace, &k.Name} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return Key{}, nil, fmt.Errorf("%w: no name", errFrame)
		}
		*to, b = string(b[size:size+int(n)]), b[size+int(n):]
	}
	return k, b, nil
}
