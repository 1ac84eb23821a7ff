package proxy

import (
	"net"

	"minato/internal/ingress/table"
)

func peekHello(c net.Conn) (net.Conn, string)                          { return c, "" }
func (v *view) passthrough(name string) *table.Route                   { return nil }
func (s *Server) passThrough(c *clientConn, conn net.Conn, b *backend) {}
