package proxy

import (
	"container/list"
	"crypto/rand"
	"crypto/tls"
	"sync"
	"time"

	"minato/internal/ingress/table"
)

// sessions are the TLS sessions that clients may take up again, whose handshake then
// needs no signature. What a client is given as a ticket is a random name of its session
// and nothing else: the secrets stay here, and end with the process.
type sessions struct {
	mu    sync.Mutex
	all   map[sessionName]*list.Element
	order list.List // of session, the oldest first
	bytes int64
}

type sessionName [32]byte

type session struct {
	name  sessionName
	trust string
	state []byte
	made  int64 // by clock
}

// sessionOverhead is about what a session takes besides its state.
const sessionOverhead = 256

func (s *session) size() int64 { return int64(len(s.state)) + sessionOverhead }

// use has a configuration's sessions kept here. Those of one trust are not taken up with
// another: a client that one host has verified has shown nothing to the next.
func (s *sessions) use(c *tls.Config, set *table.TLSSettings, trust string) {
	size, timeout := set.SessionCacheSize, set.SessionTimeout
	c.WrapSession = func(_ tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		data, err := state.Bytes()
		if err != nil {
			return nil, err
		}
		return s.put(session{trust: trust, state: data}, size, timeout), nil
	}
	c.UnwrapSession = func(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
		data := s.get(ticket, trust, timeout)
		if data == nil {
			return nil, nil
		}
		return tls.ParseSessionState(data)
	}
}

// put keeps a session, and returns its name. The oldest make room for it.
func (s *sessions) put(one session, size int64, timeout time.Duration) []byte {
	_, _ = rand.Read(one.name[:]) // does not fail (crypto/rand)
	one.made = clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[sessionName]*list.Element{}
	}
	s.all[one.name] = s.order.PushBack(&one)
	s.bytes += one.size()
	for first := s.order.Front(); first != nil; first = s.order.Front() {
		old := first.Value.(*session)
		if s.bytes <= size && one.made-old.made < int64(timeout) {
			break
		}
		s.drop(first)
	}
	return one.name[:]
}

// get returns a session's state, nil for one that is unknown, too old or of another
// trust.
func (s *sessions) get(name []byte, trust string, timeout time.Duration) []byte {
	if len(name) != len(sessionName{}) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.all[sessionName(name)]
	if !ok {
		return nil
	}
	one := at.Value.(*session)
	if one.trust != trust {
		return nil
	}
	if clock()-one.made >= int64(timeout) {
		s.drop(at)
		return nil
	}
	return one.state
}

func (s *sessions) drop(at *list.Element) {
	one := s.order.Remove(at).(*session)
	delete(s.all, one.name)
	s.bytes -= one.size()
}
