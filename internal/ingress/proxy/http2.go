package proxy

import "minato/internal/ingress/table"

type h2Server struct{ last int64 }

func (h *h2Server) init(*Server)              {}
func (h *h2Server) configure(*table.Settings) {}
func (h *h2Server) shutdown()                 {}
func (h *h2Server) due(now int64) bool {
	if now-h.last < 1e9 {
		return false
	}
	h.last = now
	return true
}
func (s *Server) serveHTTP2(c *clientConn) {}
