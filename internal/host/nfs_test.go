package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// recorder stands in for a kernel and a network: it notes the calls of mount.
type recorder struct {
	calls  []string
	answer map[string]error // by a part of the data
	none   bool             // the kernel has no client
}

func (r *recorder) mount(source, target, kind string, flags uintptr, data string) error {
	if r.none {
		return unix.ENODEV
	}
	if source == "none" {
		return unix.EINVAL
	}
	r.calls = append(r.calls, fmt.Sprintf("%s %s %s %#x %s", source, target, kind, flags, data))
	for part, err := range r.answer {
		if strings.Contains(data, part) {
			return err
		}
	}
	return nil
}

func (r *recorder) client(t *testing.T) nfsClient {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return nfsClient{
		mount: r.mount,
		dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if !slices.Contains([]string{"192.0.2.1:2049", "[2001:db8::1]:2049", "192.0.2.1:4000"}, address) {
				return nil, errors.New("refused: " + address)
			}
			return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
		},
		resolve: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if host != "files" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.1")}, nil
		},
	}
}

func TestMountNFS(t *testing.T) {
	old := map[string]error{"vers=4.2": unix.EPROTONOSUPPORT, "vers=4.1": unix.EPROTONOSUPPORT}
	for name, c := range map[string]struct {
		export NFS
		answer map[string]error
		none   bool
		want   []string
		err    string
	}{
		"plain": {export: NFS{Server: "192.0.2.1", Path: "/e"}, want: []string{"192.0.2.1:/e /t nfs4 0x0 vers=4.2,addr=192.0.2.1,clientaddr=127.0.0.1"}},
		"IPv6, read-only": {export: NFS{Server: "[2001:db8::1]", Path: "/e", ReadOnly: true},
			want: []string{"[2001:db8::1]:/e /t nfs4 0x1 vers=4.2,addr=2001:db8::1,clientaddr=127.0.0.1"}},
		"by name, options": {export: NFS{Server: "files", Path: "/e", Options: []string{"hard", "noatime", "nosuid", "_netdev", "nfsvers=4.1", "timeo=50"}},
			want: []string{"192.0.2.1:/e /t nfs4 0x402 hard,timeo=50,vers=4.1,addr=192.0.2.1,clientaddr=127.0.0.1"}},
		"both ways": {export: NFS{Server: "192.0.2.1", Path: "/e", Options: []string{"rw", "ro"}},
			want: []string{"192.0.2.1:/e /t nfs4 0x0 vers=4.2,addr=192.0.2.1,clientaddr=127.0.0.1"}},
		"both ways, read-only": {export: NFS{Server: "192.0.2.1", Path: "/e", ReadOnly: true, Options: []string{"ro", "rw"}},
			want: []string{"192.0.2.1:/e /t nfs4 0x1 vers=4.2,addr=192.0.2.1,clientaddr=127.0.0.1"}},
		"an old server": {export: NFS{Server: "192.0.2.1", Path: "/e"}, answer: old, want: []string{
			"192.0.2.1:/e /t nfs4 0x0 vers=4.2,addr=192.0.2.1,clientaddr=127.0.0.1", "192.0.2.1:/e /t nfs4 0x0 vers=4.1,addr=192.0.2.1,clientaddr=127.0.0.1",
			"192.0.2.1:/e /t nfs4 0x0 vers=4.0,addr=192.0.2.1,clientaddr=127.0.0.1"}},
		"version 3": {export: NFS{Server: "192.0.2.1", Path: "/e", Options: []string{"vers=3", "nolock", "port=4000"}},
			want: []string{"192.0.2.1:/e /t nfs 0x0 nolock,port=4000,vers=3,addr=192.0.2.1"}},
		"version as a flag": {export: NFS{Server: "192.0.2.1", Path: "/e", Options: []string{"v4.1"}},
			want: []string{"192.0.2.1:/e /t nfs4 0x0 vers=4.1,addr=192.0.2.1,clientaddr=127.0.0.1"}},
		"version 3 as a flag":  {export: NFS{Server: "192.0.2.1", Path: "/e", Options: []string{"v3"}}, err: "add the mount option nolock"},
		"version 3 with locks": {export: NFS{Server: "192.0.2.1", Path: "/e", Options: []string{"vers=3"}}, err: "add the mount option nolock"},
		"no client":            {export: NFS{Server: "192.0.2.1", Path: "/e"}, none: true, err: "the machine's kernel has no NFS client"},
		"no server":            {export: NFS{Server: "192.0.2.9", Path: "/e"}, err: "the NFS server does not answer: refused"},
		"options in a zone":    {export: NFS{Server: "2001:db8::1%x,sec=none", Path: "/e"}, err: "has a zone that is no interface's name"},
		"no name":              {export: NFS{Server: "nobody", Path: "/e"}, err: "look up the NFS server: no such host"},
		"no export": {export: NFS{Server: "192.0.2.1", Path: "/e"}, answer: map[string]error{"": unix.ENOENT}, err: "the server has no such export",
			want: []string{"192.0.2.1:/e /t nfs4 0x0 vers=4.2,addr=192.0.2.1,clientaddr=127.0.0.1"}},
		"background": {export: NFS{Server: "192.0.2.1", Path: "/e", Options: []string{"bg"}}, err: "leave it out"},
		"two in one": {export: NFS{Server: "192.0.2.1", Path: "/e", Options: []string{"hard,addr=1.2.3.4"}}, err: "is not one option"},
	} {
		r := &recorder{answer: c.answer, none: c.none}
		err := r.client(t).do(t.Context(), "/t", c.export)
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", name, err, c.err)
		}
		if !slices.Equal(r.calls, c.want) {
			t.Errorf("%s: mounted %q, want %q", name, r.calls, c.want)
		}
		if c.none && !errors.Is(err, ErrNoNFS) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzNFSOptions(f *testing.F) {
	f.Add("vers=4.1 hard")
	f.Add("ro,rw")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseNFSOptions(strings.Split(text, " "))
		if err != nil {
			return
		}
		for _, a := range o.attempts(netip.MustParseAddr("192.0.2.1"), netip.Addr{}) {
			if strings.ContainsAny(a.data, "\x00\n") {
				t.Errorf("%q", a.data)
			}
		}
	})
}
