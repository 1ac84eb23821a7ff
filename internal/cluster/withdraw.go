package cluster

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// withdrawTimeout bounds how long the nodes' BGP peers are waited for.
const withdrawTimeout = 5 * time.Second

// handleWithdrawal answers once the BGP peers are told that the nodes go away.
func (s *Server) handleWithdrawal(mux *http.ServeMux) {
	mux.HandleFunc("POST /withdraw", func(_ http.ResponseWriter, r *http.Request) { s.withdraw(r.Context()) })
}

// withdraw tells the BGP peers of all nodes that these go away.
func (s *Server) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, withdrawTimeout)
	defer cancel()
	var nodes errgroup.Group
	for _, n := range s.running() {
		if m := n.current.Load(); m != nil {
			nodes.Go(func() error { return m.Withdraw(ctx) })
		}
	}
	if err := nodes.Wait(); err != nil {
		s.log.Warn("some BGP peers are not told that the nodes go away", "error", err)
	}
}
