package announce

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// TestARP has requests of all forms come for an address that is answered.
func TestARP(t *testing.T) {
	r := newRig(t)
	r.address(v4.vip, addressOwned|addressAnswer, 1<<3)
	r.address(v4.vip2, addressOwned, 0)
	for what, to := range map[string]net.HardwareAddr{"broadcast": broadcast, "to the interface": r.mac} {
		for _, sender := range []string{v4.client, "0.0.0.0"} {
			request := arpFrame(to, clientMAC, 1, clientMAC, sender, noMAC, v4.vip)
			v, out := r.run(request)
			if want := arpFrame(clientMAC, r.mac, 2, r.mac, v4.vip, clientMAC, sender); v != redirect || !bytes.Equal(out, want) {
				t.Errorf("%s from %s: verdict %d,\n% x, want\n% x", what, sender, int32(v), out, want)
			}
			padded := append(request, make([]byte, 18)...)
			if v, out := r.run(padded); v != redirect || len(out) != len(padded) {
				t.Errorf("padded frame: verdict %d, %d bytes", int32(v), len(out))
			}
		}
	}
	if got, want := r.counts(v4.vip), (countsEntry{Requests: 8, Replies: 8}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	edit := func(at int, b byte) []byte {
		f := arpFrame(broadcast, clientMAC, 1, clientMAC, v4.client, noMAC, v4.vip)
		f[14+at] = b
		return f
	}
	for what, f := range map[string][]byte{
		"an address of a Service that is announced elsewhere": arpFrame(broadcast, clientMAC, 1, clientMAC, v4.client, noMAC, v4.vip2),
		"an address that nobody knows":                        arpFrame(broadcast, clientMAC, 1, clientMAC, v4.client, noMAC, v4.foreign),
		"the node's own address":                              arpFrame(broadcast, clientMAC, 1, clientMAC, v4.client, noMAC, v4.self),
		"a reply":                                             arpFrame(r.mac, clientMAC, 2, clientMAC, v4.client, r.mac, v4.vip),
		"to another station":                                  arpFrame(peerMAC, clientMAC, 1, clientMAC, v4.client, noMAC, v4.vip),
		"from a group":                                        arpFrame(broadcast, clientMAC, 1, broadcast, v4.client, noMAC, v4.vip),
		"no Ethernet":                                         edit(1, 6),
		"no IPv4":                                             edit(2, 9),
		"long hardware addresses":                             edit(4, 8),
		"long addresses":                                      edit(5, 16),
		"too short":                                           edit(0, 0)[:14+27],
		"in a VLAN":                                           ether(broadcast, clientMAC, 0x8100, append([]byte{0, 5}, edit(0, 0)[12:]...)),
	} {
		r.untouched(what, f)
	}
	if got := r.told(); len(got) > 0 {
		t.Errorf("told of %+v", got)
	}
	request := arpFrame(broadcast, clientMAC, 1, clientMAC, v4.client, noMAC, v4.vip)
	r.address(v4.vip, addressOwned|addressAnswer, 1<<2)
	r.untouched("answered at another interface", request)
	r.address(v4.vip, addressOwned|addressAnswer, 1<<3)
	r.settings.Flags |= configSilent
	r.configure()
	r.untouched("a silent node", request)
}

// TestSolicitations does the same for IPv6.
func TestSolicitations(t *testing.T) {
	r := newRig(t)
	r.address(v6.vip, addressOwned|addressAnswer, 1<<3)
	r.address(v6.vip2, addressOwned, 0)
	vip, client := ip(v6.vip), ip(v6.client)
	answer := func(to netip.Addr, toMAC net.HardwareAddr, flags byte) []byte {
		p := ipPacket{
			from: vip, to: to, proto: 58, ttl: 255,
			payload: slices.Concat([]byte{136, 0, 0, 0, flags, 0, 0, 0}, vip.AsSlice(), []byte{2, 1}, r.mac),
		}
		return etherIP(toMAC, r.mac, p.summed(2).bytes())
	}
	ask := func(source string) ipPacket {
		return parseIP(t, solicitation(clientMAC, source, vip.String())[14:])
	}
	group, groupMAC := groupOf(vip)
	direct := ask(client.String())
	direct.to = vip
	nonce := ask("::")
	nonce.payload = slices.Concat(nonce.payload, []byte{14, 1, 1, 2, 3, 4, 5, 6})
	for what, c := range map[string]struct{ in, want []byte }{
		"to the group":        {solicitation(clientMAC, client.String(), vip.String()), answer(client, clientMAC, 0x60)},
		"to the address":      {etherIP(r.mac, clientMAC, direct.summed(2).bytes()), answer(client, clientMAC, 0x60)},
		"DAD":                 {solicitation(clientMAC, "::", vip.String()), answer(netip.MustParseAddr("ff02::1"), net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, 0x20)},
		"DAD with a nonce":    {etherIP(groupMAC, clientMAC, nonce.summed(2).bytes()), answer(netip.MustParseAddr("ff02::1"), net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, 0x20)},
		"from a link address": {solicitation(clientMAC, "fe80::1", vip.String()), answer(netip.MustParseAddr("fe80::1"), clientMAC, 0x60)},
	} {
		v, out := r.run(c.in)
		if v != redirect || !bytes.Equal(out, c.want) {
			t.Errorf("%s: verdict %d,\n% x, want\n% x", what, int32(v), out, c.want)
		}
		parseIP(t, out[14:])
	}
	if got, want := r.counts(v6.vip), (countsEntry{Requests: 5, Replies: 5}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	changed := func(edit func(p *ipPacket)) []byte {
		p := ask(client.String())
		edit(&p)
		return etherIP(groupMAC, clientMAC, p.summed(2).bytes())
	}
	corrupt := solicitation(clientMAC, client.String(), vip.String())
	corrupt[len(corrupt)-1] ^= 1
	long := solicitation(clientMAC, client.String(), vip.String())
	long[14+5] += 8 // more than there is
	for what, f := range map[string][]byte{
		"an address of a Service that is announced elsewhere": solicitation(clientMAC, client.String(), ip(v6.vip2).String()),
		"an address that nobody knows":                        solicitation(clientMAC, client.String(), ip(v6.foreign).String()),
		"passed a router":                                     changed(func(p *ipPacket) { p.ttl = 254 }),
		"a code":                                              changed(func(p *ipPacket) { p.payload[1] = 1 }),
		"too short":                                           changed(func(p *ipPacket) { p.payload = p.payload[:20] }),
		"DAD to another group":                                changed(func(p *ipPacket) { p.from, p.to = netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1") }),
		"a bad checksum":                                      corrupt,
		"longer than it is":                                   long,
		"to another station":                                  etherIP(peerMAC, clientMAC, direct.summed(2).bytes()),
		"from a group":                                        solicitation(groupMAC, client.String(), vip.String()),
	} {
		r.untouched(what, f)
	}
	if group == vip {
		t.Fatal("the group is the address")
	}
	if got := r.told(); len(got) > 0 {
		t.Errorf("told of %+v", got)
	}
	r.settings.Flags |= configSilent
	r.configure()
	r.untouched("a silent node", solicitation(clientMAC, client.String(), vip.String()))
}

// TestClaims has others say that they have an address.
func TestClaims(t *testing.T) { eachFamily(t, testClaims) }

func testClaims(t *testing.T, f family) {
	r := newRig(t)
	claims := func(from net.HardwareAddr, addr string) map[string][]byte {
		a := ip(addr).String()
		if f.ipv6 {
			return map[string][]byte{
				"advertisement": advertisement(from, a),
				"solicitation":  solicitation(from, a, ip(f.client).String()),
			}
		}
		return map[string][]byte{
			"announcement":  arpFrame(broadcast, from, 1, from, a, noMAC, a),
			"reply form":    arpFrame(broadcast, from, 2, from, a, from, a),
			"unicast reply": arpFrame(r.mac, from, 2, from, a, r.mac, f.self),
			"request":       arpFrame(broadcast, from, 1, from, a, noMAC, f.client),
		}
	}
	for _, c := range []struct {
		what   string
		flags  uint32
		from   net.HardwareAddr
		host   int // -1 if nothing is told
		silent bool
	}{
		{"a stranger, of an address announced elsewhere", addressOwned, clientMAC, nobody, false},
		{"a stranger, of an address announced here", addressOwned | addressAnswer, clientMAC, nobody, false},
		{"a stranger, while nothing is answered", addressOwned | addressAnswer, clientMAC, nobody, true},
		{"a node, of an address announced elsewhere", addressOwned, thirdMAC, -1, false},
		{"a node, of an address announced here", addressOwned | addressAnswer, thirdMAC, thirdNumber, false},
		{"ourselves", addressOwned | addressAnswer, r.mac, -1, false},
		{"a stranger, of an address that is no Service's", 0, clientMAC, -1, false},
		{"the gateway", addressGateway, clientMAC, nobody, false},
	} {
		for form, frame := range claims(c.from, f.vip) {
			r.settings.Flags = configFlows
			if c.silent {
				r.settings.Flags |= configSilent
			}
			r.configure()
			r.address(f.vip, c.flags, 1<<3)
			r.untouched(c.what+", "+form, frame)
			got := r.told()
			want := event{Addr: addressOf(ip(f.vip)), MAC: macOf(c.from), Index: r.index, Host: uint32(c.host)}
			if c.host < 0 && len(got) > 0 || c.host >= 0 && (len(got) != 1 || got[0] != want) {
				t.Errorf("%s, %s: told of %+v, want host %d", c.what, form, got, c.host)
			}
		}
	}
	// Who says it again and again is told of once in a while.
	r.address(f.vip, addressOwned, 0)
	for range 100 {
		for _, frame := range claims(clientMAC, f.vip) {
			r.run(frame)
		}
	}
	if got := r.told(); len(got) == 0 || len(got) > 20 {
		t.Errorf("told %d times of 100 claims in a moment", len(got))
	}
}
