package member

import (
	"net/netip"
	"testing"
)

func TestAnywhere(t *testing.T) {
	v4, v6 := netip.MustParseAddr("172.30.0.11"), netip.MustParseAddr("fd00::11")
	for _, c := range []struct {
		addresses []netip.Addr
		want      string
	}{
		{[]netip.Addr{v4}, "0.0.0.0:10249"}, {[]netip.Addr{v6}, "[::]:10249"}, {[]netip.Addr{v4, v6}, "[::]:10249"},
	} {
		if got := Anywhere(c.addresses, 10249); got != c.want {
			t.Errorf("%v: %s, want %s", c.addresses, got, c.want)
		}
	}
}
