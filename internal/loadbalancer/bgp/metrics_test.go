package bgp

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// fake is a speaker whose sessions are made up.
type fake struct{ sessions []Session }

func (f *fake) Run(ctx context.Context) error      { <-ctx.Done(); return nil }
func (f *fake) Apply(context.Context, State) error { return nil }
func (f *fake) Sessions() []Session                { return f.sessions }
func (f *fake) Changed() <-chan struct{}           { return nil }

func TestMetrics(t *testing.T) {
	f := &fake{sessions: []Session{
		{Peer: "a", Address: "10.0.0.1:179", State: Established, Updates: 7, Advertised: make([]netip.Prefix, 3), BFD: &BFDSession{Up: true, Sent: 5, Received: 4}},
		{Peer: "b", Address: "[fd00::1]:179", State: "Active"},
	}}
	want := `
# HELP metallb_bfd_control_packet_input BFD control packets received.
# TYPE metallb_bfd_control_packet_input counter
metallb_bfd_control_packet_input{peer="10.0.0.1:179"} 4
# HELP metallb_bfd_control_packet_output BFD control packets sent.
# TYPE metallb_bfd_control_packet_output counter
metallb_bfd_control_packet_output{peer="10.0.0.1:179"} 5
# HELP metallb_bfd_session_up BFD session state (1 is up, 0 is down).
# TYPE metallb_bfd_session_up gauge
metallb_bfd_session_up{peer="10.0.0.1:179"} 1
# HELP metallb_bgp_announced_prefixes_total Prefixes that the peer has been told.
# TYPE metallb_bgp_announced_prefixes_total gauge
metallb_bgp_announced_prefixes_total{peer="10.0.0.1:179"} 3
metallb_bgp_announced_prefixes_total{peer="[fd00::1]:179"} 0
# HELP metallb_bgp_session_up BGP session state (1 is up, 0 is down).
# TYPE metallb_bgp_session_up gauge
metallb_bgp_session_up{peer="10.0.0.1:179"} 1
metallb_bgp_session_up{peer="[fd00::1]:179"} 0
# HELP metallb_bgp_updates_total BGP UPDATE messages sent.
# TYPE metallb_bgp_updates_total counter
metallb_bgp_updates_total{peer="10.0.0.1:179"} 7
metallb_bgp_updates_total{peer="[fd00::1]:179"} 0
`
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(f))
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
