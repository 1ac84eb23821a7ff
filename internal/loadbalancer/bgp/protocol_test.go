package bgp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"minato/internal/loadbalancer/config"
)

// fullState has something in each field.
func fullState() State {
	return State{RouterID: ip("1.2.3.4"), Peers: []Peer{
		{
			Name: "a", LocalASN: 1, PeerASN: 2, Address: ip("10.0.0.1"), Source: ip("10.0.0.2"), Port: 179, HoldTime: 9 * time.Second,
			KeepaliveTime: 3 * time.Second, ConnectTime: time.Second, Password: "secret", BFD: &BFD{Receive: time.Second, Transmit: time.Second, Multiplier: 3},
			GracefulRestart: true, MultiHop: true, DualStack: true,
			Routes: []Route{{
				Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: ip("10.0.0.3"), LocalPref: 5,
				Communities: []config.Community{{Parts: [3]uint32{1, 2}}, {Large: true, Parts: [3]uint32{1, 2, 3}}},
			}},
		},
		{Name: "b", LocalASN: 1, Interface: "eth0", Port: 179},
	}}
}

// pipe is one direction of a connection.
type pipe struct{ bytes.Buffer }

func (*pipe) Close() error { return nil }

func TestMessagesArrive(t *testing.T) {
	s := fullState()
	for _, m := range []message{
		{ID: 1, Hello: &hello{Build: "v1", PID: 7}}, {ID: 2, Apply: &s}, {ID: 3, List: &struct{}{}}, {ID: 4, Stop: &stop{Keep: true}},
		{ID: 5, Done: &done{Error: "no"}}, {ID: 6, Sessions: &listing{List: []Session{{Peer: "a", BFD: &BFDSession{Up: true}, Advertised: []netip.Prefix{netip.MustParsePrefix("::/0")}}}}},
		{Changed: &struct{}{}},
	} {
		p := &pipe{}
		c := newConn(p)
		if err := c.send(m); err != nil {
			t.Fatal(err)
		}
		m.Version = protocolVersion
		if got, err := c.receive(); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v arrived as %+v, %v", m, got, err)
		}
		if _, err := c.receive(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last message: %v", err)
		}
	}
}

// A message may be larger than the buffers are.
func TestLargeMessage(t *testing.T) {
	s := State{RouterID: ip("1.2.3.4")}
	for _, name := range []string{"a", "b"} {
		p := Peer{Name: name, LocalASN: 1, Address: netip.AddrFrom4([4]byte{10, 0, 0, name[0]}), Port: 179}
		for i := range maxRoutes {
			p.Routes = append(p.Routes, Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}), 32)})
		}
		s.Peers = append(s.Peers, p)
	}
	p := &pipe{}
	c := newConn(p)
	if err := c.send(message{ID: 1, Apply: &s}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.receive(); err != nil || !reflect.DeepEqual(*got.Apply, s) {
		t.Errorf("the state arrived differently: %v", err)
	}
}

// endless is a line without an end.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	e.read += len(b)
	clear(b)
	return len(b), nil
}
func (*endless) Write(b []byte) (int, error) { return len(b), nil }
func (*endless) Close() error                { return nil }

func TestLineIsBounded(t *testing.T) {
	e := &endless{}
	if _, err := newConn(e).receive(); !errors.Is(err, errMessage) || e.read > 2*maxMessage {
		t.Errorf("read %d bytes, then %v", e.read, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, line := range []string{
		``, `{}`, `[]`, `{"v":1}`, `{"v":1,"id":1}`, `{"v":2,"id":1,"list":{}}`, `{"id":1,"list":{}}`, `{"v":1,"list":{}}`, `{"v":1,"id":1,"changed":{}}`,
		`{"v":1,"id":1,"list":{},"stop":{}}`, `{"v":1,"id":-1,"list":{}}`, `{"v":1,"id":1,"apply":{"peers":[{"name":"x"}]}}`,
		`{"v":1,"id":1,"apply":{"routerID":"1.1.1.1","peers":[{"name":"x"}]}}`, `{"v":1,"id":1,"apply":null}`, "\x00\xff",
	} {
		if m, err := decode([]byte(line)); !errors.Is(err, errMessage) {
			t.Errorf("%s: read as %+v, %v", line, m, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	s := fullState()
	for _, m := range []message{{Version: 1, ID: 1, Apply: &s}, {Version: 1, ID: 1, Sessions: &listing{List: []Session{{Peer: "a"}}}}, {Version: 1, Changed: &struct{}{}}} {
		b, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("%q was read but can't be written: %v", b, err)
		}
		if _, err := decode(out); err != nil {
			t.Errorf("%q became %q: %v", b, out, err)
		}
		if m.Apply == nil {
			return
		}
		// What is valid the library takes.
		for i := range m.Apply.Peers {
			if _, err := libraryPaths(m.Apply.Peers[i].Routes); err != nil {
				t.Errorf("%q: %v", b, err)
			}
		}
	})
}

func TestValidate(t *testing.T) {
	if err := fullState().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text   string
		change func(*State)
	}{
		{"router ID", func(s *State) { s.RouterID = ip("::1") }},
		{"same name", func(s *State) { s.Peers[1].Name = "a" }},
		{"same name or address", func(s *State) { s.Peers[1].Interface, s.Peers[1].Address = "", ip("10.0.0.1") }},
		{"at most", func(s *State) { s.Peers = make([]Peer, maxPeers+1) }},
		{"local AS", func(s *State) { s.Peers[0].LocalASN = 0 }},
		{"either", func(s *State) { s.Peers[0].Interface = "eth1" }},
		{"no address", func(s *State) { s.Peers[0].Address = ip("::ffff:10.0.0.1") }},
		{"another IP family", func(s *State) { s.Peers[0].Source = ip("fd00::1") }},
		{"port", func(s *State) { s.Peers[0].Port = 0 }},
		{"time", func(s *State) { s.Peers[0].HoldTime = time.Second }},
		{"time", func(s *State) { s.Peers[0].ConnectTime = -1 }},
		{"password", func(s *State) { s.Peers[0].Password = strings.Repeat("x", 81) }},
		{"BFD", func(s *State) { s.Peers[0].BFD.Receive = time.Millisecond }},
		{"15 characters", func(s *State) { s.Peers[1].Interface = strings.Repeat("e", 16) }},
		{"not a prefix", func(s *State) { s.Peers[0].Routes[0].Prefix = netip.MustParsePrefix("192.0.2.1/24") }},
		{"twice", func(s *State) { s.Peers[0].Routes = append(s.Peers[0].Routes, s.Peers[0].Routes[0]) }},
		{"next hop", func(s *State) { s.Peers[0].Routes[0].NextHop = ip("fd00::1") }},
		{"community", func(s *State) { s.Peers[0].Routes[0].Communities[0].Parts[1] = 65536 }},
		{"communities", func(s *State) { s.Peers[0].Routes[0].Communities = make([]config.Community, maxCommunities+1) }},
		{"routes", func(s *State) { s.Peers[0].Routes = make([]Route, maxRoutes+1) }},
	} {
		s := fullState()
		c.change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v, want an error with %q", err, c.text)
		}
	}
}

// The State that is applied is not the caller's any more.
func TestClone(t *testing.T) {
	s, want := fullState(), fullState()
	got := s.clone()
	s.Peers[0].Routes[0].Communities[0].Parts[0] = 9
	s.Peers[0].Routes[0].LocalPref = 9
	s.Peers[0].BFD.Multiplier = 9
	s.Peers[1].Name = "c"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the copy has changed: %+v", got)
	}
}
