package bgp

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A Process and its Helper talk in lines of JSON, each of which is one message.

const (
	// protocolVersion changes with the messages. The two ends are of the same build, so no end knows two versions.
	protocolVersion = 1
	// maxMessage bounds a line: what the largest State takes.
	maxMessage = 64 << 20
)

// message is a request of a Process, with a number, or what a Helper says: the answer with the same number, or without
// one that sessions have changed.
type message struct {
	Version int    `json:"v"`
	ID      uint64 `json:"id,omitempty"`

	// Requests.
	Hello *hello    `json:"hello,omitempty"` // also the answer
	Apply *State    `json:"apply,omitempty"`
	List  *struct{} `json:"list,omitempty"`
	Stop  *stop     `json:"stop,omitempty"`

	// Answers.
	Done     *done     `json:"done,omitempty"` // to Apply and Stop
	Sessions *listing  `json:"sessions,omitempty"`
	Changed  *struct{} `json:"changed,omitempty"`
}

// hello is the first message of either end.
type hello struct {
	// Build is the version of the program.
	Build string `json:"build"`
	// PID is the process that says it.
	PID int `json:"pid"`
}

// stop has the Helper end.
type stop struct {
	// Keep has peers with graceful restart keep the routes.
	Keep bool `json:"keep,omitempty"`
}

type done struct {
	Error string `json:"error,omitempty"`
}

type listing struct {
	List []Session `json:"list"`
}

var errMessage = errors.New("not a message of this protocol")

// decode reads one message.
func decode(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	if m.Version != protocolVersion {
		return message{}, fmt.Errorf("%w: version %d, not %d", errMessage, m.Version, protocolVersion)
	}
	bodies := 0
	for _, there := range []bool{m.Hello != nil, m.Apply != nil, m.List != nil, m.Stop != nil, m.Done != nil, m.Sessions != nil, m.Changed != nil} {
		if there {
			bodies++
		}
	}
	if bodies != 1 {
		return message{}, fmt.Errorf("%w: %d bodies", errMessage, bodies)
	}
	if (m.ID == 0) != (m.Changed != nil) {
		return message{}, fmt.Errorf("%w: number %d", errMessage, m.ID)
	}
	if m.Apply != nil {
		if err := m.Apply.Validate(); err != nil {
			return message{}, fmt.Errorf("%w: %w", errMessage, err)
		}
	}
	return m, nil
}

// conn sends and receives messages.
type conn struct {
	rw io.ReadWriteCloser
	in *bufio.Reader

	mu sync.Mutex // of writes
}

func newConn(rw io.ReadWriteCloser) *conn {
	return &conn{rw: rw, in: bufio.NewReaderSize(rw, 64<<10)}
}

func (c *conn) close() error { return c.rw.Close() }

func (c *conn) send(m message) error {
	m.Version = protocolVersion
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) >= maxMessage {
		return fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.rw.Write(append(b, '\n'))
	return err
}

// receive waits for the next message.
func (c *conn) receive() (message, error) {
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		if len(line)+len(part) > maxMessage {
			return message{}, fmt.Errorf("%w: a line of more than %d bytes", errMessage, maxMessage)
		}
		if err == nil && line == nil {
			return decode(part)
		}
		line = append(line, part...)
		if err == nil {
			return decode(line)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return message{}, err
		}
	}
}
