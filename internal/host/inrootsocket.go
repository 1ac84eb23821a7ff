package host

import (
	"context"
	"net"
)

// DialUnix connects to the unix socket at path in the root directory. The path may
// be longer than the kernel lets a socket's name be.
func (r *InRoot) DialUnix(ctx context.Context, path string) (net.Conn, error) {
	f, err := r.OpenPath(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return (&net.Dialer{}).DialContext(ctx, "unix", FilePath(f))
}
