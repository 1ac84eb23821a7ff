package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// NFS is an export of a server.
type NFS struct {
	// Server is a host name or an address, Path what it exports.
	Server, Path string
	// Options are those of nfs(5) and the general ones of mount(8), each by itself.
	Options  []string
	ReadOnly bool
}

// ErrNoNFS is why nothing of a server can be mounted on this machine.
var ErrNoNFS = errors.New("the machine's kernel has no NFS client: load its module with `modprobe nfs`, or mount the export elsewhere")

// MountNFS mounts an export at target, by the kernel's client and connections of the
// namespace. Without a version in the options, the highest one of version 4 is taken that
// both sides have. A server that can't be reached is an error within 10 seconds.
func (n Netns) MountNFS(ctx context.Context, target string, e NFS) error {
	c := nfsClient{mount: func(source, target, kind string, flags uintptr, data string) error {
		return n.Do(func() error { return unix.Mount(source, target, kind, flags, data) })
	}, dial: n.DialContext, resolve: net.DefaultResolver.LookupNetIP}
	if err := c.do(ctx, target, e); err != nil {
		return fmt.Errorf("mount the NFS export %s:%s: %w", e.Server, e.Path, err)
	}
	return nil
}

// nfsReach bounds the search for a server.
const nfsReach = 10 * time.Second

// nfsClient is what mounting an export takes of the machine.
type nfsClient struct {
	mount   func(source, target, kind string, flags uintptr, data string) error
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

func (c nfsClient) do(ctx context.Context, target string, e NFS) error {
	o, err := parseNFSOptions(e.Options)
	if err != nil {
		return err
	}
	if e.ReadOnly {
		o.flags |= unix.MS_RDONLY
	}
	// The kernel looks for the client first, and then says that options are missing.
	if err := c.mount("none", target, "nfs4", 0, ""); errors.Is(err, unix.ENODEV) {
		return ErrNoNFS
	}
	server, client, err := c.reach(ctx, e.Server, o.port)
	if err != nil {
		return err
	}
	host := server.String()
	if server.Is6() {
		host = "[" + host + "]"
	}
	for _, a := range o.attempts(server, client) {
		if err = c.mount(host+":"+e.Path, target, a.kind, o.flags, a.data); err == nil {
			return nil
		}
		if !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	return explainNFS(err)
}

// reach finds the server, and says by which addresses it and this side know each other.
func (c nfsClient) reach(ctx context.Context, name, port string) (server, client netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, nfsReach)
	defer cancel()
	name = strings.Trim(name, "[]")
	addresses := []netip.Addr{}
	if a, err := netip.ParseAddr(name); err == nil {
		// A zone may have any text, and becomes a part of the mount's options.
		if strings.ContainsAny(a.Zone(), ",=\x00\n") {
			return server, client, fmt.Errorf("the NFS server %q has a zone that is no interface's name; write the address without it", name)
		}
		addresses = append(addresses, a)
	} else if addresses, err = c.resolve(ctx, "ip", name); err != nil {
		return server, client, fmt.Errorf("look up the NFS server: %w", err)
	}
	for _, a := range addresses {
		var conn net.Conn
		if conn, err = c.dial(ctx, "tcp", net.JoinHostPort(a.Unmap().String(), port)); err == nil {
			defer conn.Close()
			if local, ok := conn.LocalAddr().(*net.TCPAddr); ok {
				client = local.AddrPort().Addr().Unmap()
			}
			return a.Unmap(), client, nil
		}
	}
	return server, client, fmt.Errorf("the NFS server does not answer: %w", err)
}

// nfsOptions are what a mount's options come to.
type nfsOptions struct {
	flags uintptr
	rest  []string // for the kernel's client
	port  string
	// version is empty if the options leave it open.
	version  string
	nolock   bool
	hasAddr  bool
	hasLocal bool
}

// versionFlags are another form of vers=VERSION.
var versionFlags = []string{"v2", "v3", "v4", "v4.0", "v4.1", "v4.2"}

// parseNFSOptions sorts options, and refuses those that nobody here would follow.
func parseNFSOptions(all []string) (nfsOptions, error) {
	sorted, err := sortMountOptions(all)
	o := nfsOptions{port: "2049", flags: sorted.flags}
	if err != nil {
		return o, err
	}
	for _, option := range sorted.rest {
		key, value, _ := strings.Cut(option, "=")
		switch {
		case key == "retry": // for the program of the NFS client
			continue
		case option == "bg":
			return o, errors.New("the mount option bg would have a Pod start before its volume is there; leave it out")
		case key == "vers", key == "nfsvers":
			o.version = value
			continue
		case slices.Contains(versionFlags, option): // the kernel would heed the last one it is given
			o.version = option[1:]
			continue
		case key == "proto" && value != "tcp" && value != "tcp6":
			return o, fmt.Errorf("the mount option %s is not supported by this node; use proto=tcp", option)
		case key == "port":
			o.port = value
		case key == "nolock", key == "local_lock" && value != "none":
			o.nolock = true
		case key == "addr":
			o.hasAddr = true
		case key == "clientaddr":
			o.hasLocal = true
		}
		o.rest = append(o.rest, option)
	}
	if strings.HasPrefix(o.version, "3") && !o.nolock {
		return o, errors.New("locks of NFS version 3 need the daemon rpc.statd, which no node runs: add the mount option nolock, or leave the version out for version 4")
	}
	return o, nil
}

// attempt is one call of mount.
type attempt struct{ kind, data string }

// attempts are the calls to try, best first.
func (o nfsOptions) attempts(server, client netip.Addr) (out []attempt) {
	versions := []string{o.version}
	if o.version == "" || o.version == "4" {
		versions = []string{"4.2", "4.1", "4.0"}
	}
	for _, v := range versions {
		kind, data := "nfs4", slices.Clone(o.rest)
		data = append(data, "vers="+v)
		if !o.hasAddr {
			data = append(data, "addr="+server.String())
		}
		if strings.HasPrefix(v, "4") {
			if !o.hasLocal && client.IsValid() {
				data = append(data, "clientaddr="+client.String())
			}
		} else {
			kind = "nfs"
		}
		out = append(out, attempt{kind, strings.Join(data, ",")})
	}
	return out
}

// explainNFS adds what to do about an answer.
func explainNFS(err error) error {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: the server does not export it to this node", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: the server has no such export", err)
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w: the server and the machine have no version of NFS in common, of those that the mount options allow", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the kernel's NFS client does not take these mount options; its log (dmesg) says which", err)
	}
	return err
}
