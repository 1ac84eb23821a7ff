package proxy

import (
	"bytes"
	"testing"
	"time"
)

func TestSessions(t *testing.T) {
	var s sessions
	const room = 3 * (sessionOverhead + 100)
	put := func(state byte, trust string) []byte {
		return s.put(session{trust: trust, state: bytes.Repeat([]byte{state}, 100)}, room, time.Hour)
	}
	has := func(name []byte, trust string, timeout time.Duration) byte {
		if state := s.get(name, trust, timeout); state != nil {
			return state[0]
		}
		return 0
	}
	first, second := put('a', ""), put('b', "ca")
	if has(first, "", time.Hour) != 'a' || has(second, "ca", time.Hour) != 'b' {
		t.Error("a session that was kept is not found")
	}
	if has(first, "ca", time.Hour) != 0 || has(second, "", time.Hour) != 0 || has(second, "other", time.Hour) != 0 {
		t.Error("a session is found with another trust")
	}
	if has(nil, "", time.Hour) != 0 || has(first[1:], "", time.Hour) != 0 || has(make([]byte, 32), "", time.Hour) != 0 || has(make([]byte, 300), "", time.Hour) != 0 {
		t.Error("a session is found by a name that was not given")
	}
	put('c', "")
	fourth := put('d', "")
	if has(first, "", time.Hour) != 0 || has(second, "ca", time.Hour) != 'b' || has(fourth, "", time.Hour) != 'd' {
		t.Error("the oldest session has not made room for a new one")
	}
	if has(fourth, "", 0) != 0 || has(fourth, "", time.Hour) != 0 {
		t.Error("a session that is too old is found, or has not been forgotten")
	}
	if len(s.all) != 2 || s.order.Len() != 2 || s.bytes != 2*(sessionOverhead+100) {
		t.Errorf("%d sessions in the map, %d in the list and %d bytes are left", len(s.all), s.order.Len(), s.bytes)
	}
	s.put(session{state: []byte("x")}, room, 0)
	if len(s.all) != 0 || s.bytes != 0 {
		t.Errorf("after all time is up, %d sessions and %d bytes are left", len(s.all), s.bytes)
	}
	if bytes.Equal(first, second) || len(first) != 32 {
		t.Errorf("names of sessions: %x, %x", first, second)
	}
}
