package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/config/oc"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"minato/internal/loadbalancer/bgp/bfd"
)

// router is a server of gobgp's library and the peers that it has. Each peer is the only one of a VRF of the server's
// own making: so each has a table of its own, and what one peer is told differs freely from what another is.
type router struct {
	id       netip.Addr
	log      *slog.Logger
	board    *board
	server   *server.BgpServer
	served   chan struct{} // closed when the server has ended
	prober   *bfd.Prober
	adverts  advertiser
	stopping atomic.Bool
	members  map[string]*member
	tables   uint32 // counts the VRFs
	// restarted says that peers may have routes from an earlier process.
	restarted bool
}

// member is a peer of a router.
type member struct {
	peer    Peer
	address netip.Addr
	table   string
}

// stopTimeout bounds how long a server may take to end its sessions.
const stopTimeout = 5 * time.Second

// newRouter prepares a server. Its end is stop.
func newRouter(id netip.Addr, board *board, log *slog.Logger, restarted bool) (*router, error) {
	r := &router{id: id, log: log, board: board, served: make(chan struct{}), members: map[string]*member{}, restarted: restarted}
	level := &slog.LevelVar{}
	level.Set(slog.LevelDebug)
	handler := &diagnosis{out: log.Handler(), complain: board.complain, quiet: r.stopping.Load}
	prober, err := bfd.New(bfd.Config{Logger: log, Changed: r.pathChanged})
	if err != nil {
		return nil, err
	}
	r.prober = prober
	r.adverts = advertiser{log: log, running: map[string]func(){}}
	r.server = server.NewBgpServer(server.LoggerOption(slog.New(handler), level))
	return r, nil
}

// start has the server listen to nobody, accept no routes, and tell how sessions go.
func (r *router) start(ctx context.Context) error {
	go func() {
		defer close(r.served)
		r.server.Serve()
	}()
	global := &api.Global{Asn: globalASN, RouterId: r.id.String(), ListenPort: -1}
	if err := r.server.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err != nil {
		return fmt.Errorf("start BGP with router ID %v: %w", r.id, err)
	}
	if err := r.refuseRoutes(ctx); err != nil {
		return fmt.Errorf("have BGP drop what peers announce: %w", err)
	}
	return r.server.WatchEvent(ctx, server.WatchEventMessageCallbacks{OnPeerUpdate: r.peerChanged}, server.WatchPeer())
}

// refuseRoutes has the server take no routes but its own.
func (r *router) refuseRoutes(ctx context.Context) error {
	own := &api.Policy{Name: "own", Statements: []*api.Statement{{
		Name:       "own",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
	}}}
	if err := r.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: own}); err != nil {
		return err
	}
	return r.server.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_IMPORT,
		Policies: []*api.Policy{own}, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}})
}

// stop ends the sessions, and the server. keep has peers with graceful restart keep their routes for a while.
func (r *router) stop(keep bool) {
	r.stopping.Store(true)
	r.prober.Close()
	r.adverts.set(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.server.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: keep}); err != nil {
			r.log.Warn("BGP could not be stopped in order", "error", err)
		}
		r.server.Stop() // what StopBgp leaves
		<-r.served
	}()
	select {
	case <-done:
	case <-time.After(stopTimeout):
		r.log.Warn("BGP sessions take long to end; they are left behind", "after", stopTimeout)
	}
	r.board.clear()
}

// peerChanged is called by the library.
func (r *router) peerChanged(e *apiutil.WatchEventMessage_PeerEvent, at time.Time) {
	if e.Type != apiutil.PEER_EVENT_STATE || r.stopping.Load() {
		return
	}
	s := e.Peer.State
	ev := event{address: s.NeighborAddress, state: stateNames[s.SessionState], at: at, reason: s.DisconnectMessage, peerASN: s.PeerASN}
	ev.v4, ev.v6 = families(s.RemoteCap)
	p := r.board.note(ev)
	if p == nil || ev.state != Established {
		return
	}
	r.log.Info("BGP session is up", "peer", p.Name, "address", ev.address, "asn", ev.peerASN)
	if p.PeerASN == 0 && ev.peerASN == p.LocalASN {
		// The library can't be told to want any AS but its own.
		r.board.complain(ev.address, fmt.Sprintf("the router is of the node's own AS %d, and dynamicASN is external", p.LocalASN))
		if err := r.server.DisablePeer(context.Background(), &api.DisablePeerRequest{Address: ev.address.String()}); err != nil {
			r.log.Warn("A BGP peer of the wrong AS could not be refused", "peer", p.Name, "error", err)
		}
	}
}

// families tells which of the two a peer can take, of which IPv4 needs no capability.
func families(caps []bgp.ParameterCapabilityInterface) (v4, v6 bool) {
	multi := false
	for _, c := range caps {
		if mp, ok := c.(*bgp.CapMultiProtocol); ok {
			multi = true
			v4 = v4 || mp.CapValue == bgp.RF_IPv4_UC
			v6 = v6 || mp.CapValue == bgp.RF_IPv6_UC
		}
	}
	return v4 || !multi, v6
}

var stateNames = map[bgp.FSMState]string{
	bgp.BGP_FSM_IDLE: "Idle", bgp.BGP_FSM_CONNECT: "Connect", bgp.BGP_FSM_ACTIVE: "Active",
	bgp.BGP_FSM_OPENSENT: "OpenSent", bgp.BGP_FSM_OPENCONFIRM: "OpenConfirm", bgp.BGP_FSM_ESTABLISHED: Established,
}

// resolve finds the address to dial.
func resolve(p *Peer) (netip.Addr, error) {
	if p.Interface == "" {
		return p.Address, nil
	}
	text, err := oc.GetIPv6LinkLocalNeighborAddress(p.Interface)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no single router is known on interface %s, which has to send router advertisements there: %w", p.Interface, err)
	}
	return netip.ParseAddr(text)
}

// add begins a session. The routes are there before the peer is: with graceful restart it then hears of all of them
// before it hears that these are all.
func (r *router) add(ctx context.Context, p Peer) error {
	address, err := resolve(&p)
	if err != nil {
		r.board.put(&p, netip.Addr{}, err)
		return err
	}
	m := &member{peer: p, address: address}
	if err := r.addMember(ctx, m); err != nil {
		err = fmt.Errorf("BGP peer %s: %w", p.Name, err)
		r.board.put(&p, netip.Addr{}, err)
		return err
	}
	return nil
}

func (r *router) addMember(ctx context.Context, m *member) error {
	r.tables++
	m.table = fmt.Sprintf("%s#%d", m.peer.Name, r.tables)
	vrf, err := newTable(m.table, r.tables)
	if err != nil {
		return err
	}
	if err := r.server.AddVrf(ctx, &api.AddVrfRequest{Vrf: vrf}); err != nil {
		return err
	}
	err = r.tell(m, m.peer.Routes, nil)
	if err == nil {
		p := m.peer
		r.board.put(&p, m.address, nil)
		err = r.server.AddPeer(ctx, &api.AddPeerRequest{Peer: libraryPeer(m, r.restarted)})
	}
	if err == nil {
		r.probe(m)
	}
	if err != nil {
		r.dropTable(m)
		return err
	}
	r.members[m.peer.Name] = m
	return nil
}

// remove ends a session; the peer drops the routes.
func (r *router) remove(ctx context.Context, name string) error {
	m := r.members[name]
	if m == nil {
		r.board.remove(name)
		return nil
	}
	r.prober.Remove(m.address)
	if err := r.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: m.address.String()}); err != nil {
		return fmt.Errorf("end the session with BGP peer %s: %w", name, err)
	}
	r.dropTable(m)
	delete(r.members, name)
	r.board.remove(name)
	return nil
}

func (r *router) dropTable(m *member) {
	if err := r.server.DeleteVrf(context.Background(), &api.DeleteVrfRequest{Name: m.table}); err != nil {
		r.log.Warn("The table of a BGP peer could not be removed", "peer", m.peer.Name, "error", err)
	}
}

// update tells a peer how the new routes differ from the old ones.
func (r *router) update(m *member, routes []Route) error {
	old := make(map[netip.Prefix]Route, len(m.peer.Routes))
	for _, route := range m.peer.Routes {
		old[route.Prefix] = route
	}
	var add, gone []Route
	for _, route := range routes {
		if was, ok := old[route.Prefix]; !ok || !was.equal(route) {
			add = append(add, route)
		}
		delete(old, route.Prefix)
	}
	for _, route := range old {
		gone = append(gone, route)
	}
	slices.SortFunc(gone, func(a, b Route) int { return comparePrefixes(a.Prefix, b.Prefix) })
	if err := r.tell(m, add, gone); err != nil {
		return fmt.Errorf("tell BGP peer %s of %d routes: %w", m.peer.Name, len(add)+len(gone), err)
	}
	p := m.peer
	p.Routes = routes
	m.peer = p
	r.board.routes(&p)
	return nil
}

// tell puts routes into a peer's table, and takes others out.
func (r *router) tell(m *member, add, gone []Route) error {
	if len(gone) > 0 {
		paths, err := libraryPaths(gone)
		if err != nil {
			return err
		}
		if err := r.server.DeletePath(apiutil.DeletePathRequest{VRFID: m.table, Paths: paths}); err != nil {
			return err
		}
	}
	if len(add) == 0 {
		return nil
	}
	paths, err := libraryPaths(add)
	if err != nil {
		return err
	}
	_, err = r.server.AddPath(apiutil.AddPathRequest{VRFID: m.table, Paths: paths})
	return err
}

// count adds what the library counts to sessions.
func (r *router) count(sessions []Session, addresses []netip.Addr) {
	for i := range sessions {
		if status, ok := r.prober.Status(addresses[i]); ok && sessions[i].BFD != nil {
			sessions[i].BFD.Up, sessions[i].BFD.Sent, sessions[i].BFD.Received = status.Up, status.Sent, status.Received
		}
	}
	byAddress := map[string]*api.Peer{}
	err := r.server.ListPeer(context.Background(), &api.ListPeerRequest{}, func(p *api.Peer) {
		byAddress[p.GetState().GetNeighborAddress()] = p
	})
	if err != nil {
		return // it ends
	}
	for i := range sessions {
		p := byAddress[addresses[i].String()]
		if p != nil {
			sessions[i].Updates = p.GetState().GetMessages().GetSent().GetUpdate()
		}
	}
}
