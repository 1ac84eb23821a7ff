package bfd

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestPacket(t *testing.T) {
	p := packet{state: Init, diagnostic: neighborDown, poll: true, multiplier: 3, mine: 0x01020304, yours: 0x05060708, transmit: 300 * time.Millisecond, receive: time.Second}
	// From RFC 5880, section 4.1.
	want := []byte{0x23, 0xa0, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x04, 0x93, 0xe0, 0, 0x0f, 0x42, 0x40, 0, 0, 0, 0}
	if got := p.bytes(); !bytes.Equal(got, want) {
		t.Errorf("packet is\n% x, want\n% x", got, want)
	}
	if got, err := parse(want); err != nil || got != p {
		t.Errorf("read %+v, %v", got, err)
	}
	for name, c := range map[string]struct {
		change func(b []byte)
		want   error
	}{
		"version":          {func(b []byte) { b[0] = 0x40 }, errVersion},
		"length":           {func(b []byte) { b[3] = 25 }, errSize},
		"short length":     {func(b []byte) { b[3] = 23 }, errSize},
		"authentication":   {func(b []byte) { b[1] |= flagAuthenticated }, errOptions},
		"multipoint":       {func(b []byte) { b[1] |= flagMultipoint }, errOptions},
		"no multiplier":    {func(b []byte) { b[2] = 0 }, errInvalid},
		"no discriminator": {func(b []byte) { clear(b[4:8]) }, errInvalid},
		"up without yours": {func(b []byte) { clear(b[8:12]) }, errInvalid},
	} {
		b := bytes.Clone(want)
		c.change(b)
		if _, err := parse(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := parse(want[:23]); !errors.Is(err, errSize) {
		t.Errorf("23 bytes: %v", err)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(packet{state: Down, multiplier: 1, mine: 1}.bytes())
	f.Add([]byte{0x20, 0xc0, 3, 24})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if err != nil {
			return
		}
		again, err := parse(p.bytes())
		if err != nil || again != p {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
		m := newMachine(fast, 7)
		_, first := m.receive(p)
		_, second := m.receive(p)
		if d := m.detection(); first != second || first && d <= 0 {
			t.Errorf("detection takes %v", d)
		}
	})
}
