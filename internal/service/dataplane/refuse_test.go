package dataplane

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// TestUDPConnectSucceeds: connect() of a UDP socket sends nothing, so it succeeds whatever the Service has. What the
// socket sends is refused within the node, and steered once the Service has the port.
func TestUDPConnectSucceeds(t *testing.T) { eachFamily(t, testUDPConnectSucceeds) }

func testUDPConnectSucceeds(t *testing.T, fam family) {
	w := newWorld(t)
	w.serveUDP(w.p2, "p2", fam.p2+":8080")
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	network := map[string]bool{fam.udp: true}
	if !fam.ipv6 {
		network["udp46"] = true // an IPv6 socket, which asks before each write
	}
	own := map[string]string{"pod": ip(fam.q1).String(), "node": ip(fam.n1).String()}
	for network := range network {
		for what, ns := range map[string]host.Netns{"pod": w.q1, "node": w.n1} {
			w.apply(clusterIP("web", fam.vip(1), 80, tcp, back(fam.p2+":8080")), clusterIP("empty", fam.vip(2), 53, udp, nil),
				fam.nodePort("empty", 30053, udp, nil))
			leaves := w.watchUplink()
			for _, to := range []string{fam.vip(1) + ":53", fam.vip(2) + ":53", fam.n1 + ":30053"} {
				h := w.helperIn(ns)
				leaves() // what a Service forwarded before
				a := h.do(request{Op: "connect", Network: network, Addr: to})
				if a.Err != "" || a.Client != own[what] && to != fam.n1+":30053" || a.Peer != to {
					t.Errorf("%s of a %s to %s: %+v, want success and own address %s", network, what, to, a, own[what])
				}
				wantRefused(t, network+" of a "+what+" to "+to, h.do(request{Op: "write"}))
				wantRefused(t, network+" of a "+what+" to "+to+" again", h.do(request{Op: "write"}))
				if got := leaves(); got != 0 {
					t.Errorf("%s of a %s to %s: %d packets left the node", network, what, to, got)
				}
				// The Service gets the port: the same socket reaches it, and hears of it when it goes.
				if to != fam.vip(1)+":53" {
					continue
				}
				w.apply(clusterIP("web", fam.vip(1), 80, tcp, back(fam.p2+":8080")), clusterIP("web", fam.vip(1), 53, udp, back(fam.p2+":8080")))
				wantAnswer(t, network+" of a "+what+" once the port is there", h.do(request{Op: "write"}), "p2", "")
				w.apply(clusterIP("web", fam.vip(1), 80, tcp, back(fam.p2+":8080")))
				wantRefused(t, network+" of a "+what+" after the port is gone", h.do(request{Op: "write"}))
			}
		}
	}
	// Without connect() it is the datagram that fails.
	pod := w.helperIn(w.q1)
	wantRefused(t, "unconnected", pod.do(request{Op: "sendto", Network: fam.udp, Addr: fam.vip(2) + ":53"}))
	if t.Failed() {
		t.Log(w.dp.Dump())
	}
}

// watchUplink counts the datagrams of the tests' clients that pass the node's uplink, since it was asked last.
func (w *world) watchUplink() func() int {
	w.t.Helper()
	var index int
	w.inside(w.n1, func(h *netlink.Handle) error {
		l, err := h.LinkByName("eth0")
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	every := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	var fd int
	err := w.n1.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(every))
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: every, Ifindex: index})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Close(fd) })
	return func() (n int) {
		buf := make([]byte, 65536)
		for {
			size, err := unix.Read(fd, buf)
			if err != nil {
				return n
			}
			if bytes.HasSuffix(buf[:size], []byte("hello")) {
				n++
			}
		}
	}
}
