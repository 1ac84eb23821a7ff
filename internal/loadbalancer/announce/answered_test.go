package announce

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

func TestAnswered(t *testing.T) {
	a := &Announcer{}
	if _, err := a.Answered(); !errors.Is(err, errClosed) {
		t.Errorf("error %v", err)
	}
	a.collection = &ebpf.Collection{}
	first, second := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	a.addresses.have = map[address]addressEntry{
		addressOf(first):  {Flags: addressOwned | addressAnswer},
		addressOf(second): {Flags: addressOwned | addressAnswer | addressSpread},
		addressOf(netip.MustParseAddr("192.0.2.2")):  {Flags: addressOwned | addressSpread},
		addressOf(netip.MustParseAddr("192.0.2.11")): {Flags: addressSelf},
	}
	got, err := a.Answered()
	slices.SortFunc(got, netip.Addr.Compare)
	if err != nil || !slices.Equal(got, []netip.Addr{first, second}) {
		t.Errorf("got %v, %v", got, err)
	}
}
