package dataplane

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// FuzzPacket feeds anything to the programs: whatever it is, they must come to an end and not touch packets that have
// nothing to do with a Service. The last bytes choose the place and the direction.
func FuzzPacket(f *testing.F) {
	r := newRig(f)
	for _, fam := range []family{v4, v6} {
		r.apply(clusterIP("a", fam.vip(1), 80, corev1.ProtocolTCP, back(fam.p2+":8080")), clusterIP("none", fam.vip(2), 80, corev1.ProtocolUDP, nil),
			fam.nodePort("np", 30001, corev1.ProtocolUDP, back(fam.p2+":8080")))
		for place := range byte(4) {
			f.Add(segment{from: fam.client(), to: fam.vip(1) + ":80", flags: syn}.packet(), place)
			f.Add(segment{from: fam.client(), to: fam.vip(2) + ":80", udp: true}.packet(), place)
			f.Add(segment{from: fam.client(), to: fam.n1 + ":30001", udp: true, payload: "x"}.packet(), place)
			f.Add(tooBig(fam.p2, fam.n1, segment{from: fam.n1 + ":61000", to: fam.p2 + ":8080"}.ipPacket()).packet(), place)
		}
	}
	for _, p := range extended() {
		f.Add(p.frame(), byte(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, place byte) {
		if len(in) < 14 || len(in) > 1500 {
			return
		}
		ifindex, dir := []uint32{r.uplink, r.pod, loopbackIndex, r.uplink}[place%4], inbound
		if place%4 == 3 {
			dir = outbound
		}
		v, out, err := r.try(programFor(dir, isIPv6(in)), ifindex, in)
		if errors.Is(err, unix.EINVAL) {
			return // no packet at all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch v {
		case next:
			// Answers of the node that go out are changed and go on.
			if dir == inbound && !bytes.Equal(in, out) {
				t.Errorf("verdict next, but % x became % x", in, out)
			}
		case pass, shot:
		default:
			t.Errorf("verdict %d", int32(v))
		}
	})
}
