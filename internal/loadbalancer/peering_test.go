package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/bgp"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
	"minato/internal/loadbalancer/pool"
)

// fakeSpeaker keeps the States that it was told.
type fakeSpeaker struct {
	mu       sync.Mutex
	states   []bgp.State
	sessions []bgp.Session
	stuck    bool // it never acts
}

func (f *fakeSpeaker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (f *fakeSpeaker) Apply(ctx context.Context, s bgp.State) error {
	if err := s.Validate(); err != nil {
		return err
	}
	f.mu.Lock()
	f.states = append(f.states, s)
	stuck := f.stuck
	f.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (f *fakeSpeaker) Sessions() []bgp.Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sessions)
}

func (f *fakeSpeaker) Changed() <-chan struct{} { return nil }

// all are the States as "tor:203.0.113.1/32,203.0.113.2/32", a password after the name as in tor(secret).
func (f *fakeSpeaker) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, s := range f.states {
		var peers []string
		for i := range s.Peers {
			p := &s.Peers[i]
			var prefixes []string
			for _, r := range p.Routes {
				prefixes = append(prefixes, r.Prefix.String())
			}
			name := p.Name
			if p.Password != "" {
				name += "(" + p.Password + ")"
			}
			peers = append(peers, name+":"+strings.Join(prefixes, ","))
		}
		out = append(out, strings.Join(peers, " "))
	}
	return out
}

func (f *fakeSpeaker) last() string {
	all := f.all()
	if len(all) == 0 {
		return "nothing"
	}
	return all[len(all)-1]
}

func metallbObject(kind, version, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "metallb.io/" + version, "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": config.Namespace, "uid": "uid-of-" + name}, "spec": spec,
	}}
}

func bgpPeer(name string, edits ...func(spec map[string]any)) *unstructured.Unstructured {
	spec := map[string]any{"myASN": int64(64500), "peerASN": int64(65010), "peerAddress": "172.30.0.98"}
	for _, edit := range edits {
		edit(spec)
	}
	return metallbObject(metallb.KindBGPPeer, "v1beta2", name, spec)
}

func withSecret(name string) func(map[string]any) {
	return func(spec map[string]any) { spec["passwordSecret"] = map[string]any{"name": name} }
}

// peeringRig is a nodeRig of node-1 of three, with a speaker and a pool that routers are told of.
type peeringRig struct {
	*nodeRig
	speaker *fakeSpeaker
	reports *fakeReports
	secrets *fake.Clientset
}

func newPeeringRig(t *testing.T) *peeringRig {
	r := &peeringRig{nodeRig: newNodeRig(t, "node-1", threeNodes...), speaker: &fakeSpeaker{}, reports: &fakeReports{}, secrets: fake.NewClientset()}
	r.apply(ipPool("routed", "203.0.113.1-203.0.113.9"))
	r.apply(metallbObject(metallb.KindBGPAdvertisement, "v1beta1", "routed", map[string]any{"ipAddressPools": []any{"routed"}}))
	cfg := r.node.cfg
	cfg.Speaker, cfg.Passwords = r.speaker, ReadPasswords(r.secrets)
	var err error
	r.node, err = newNode(cfg, func(c announce.Config) (announcer, error) {
		r.announcer.onView, r.announcer.onClaim = c.OnView, c.OnConflict
		return r.announcer, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.node.peering.reports = r.reports
	return r
}

func (r *peeringRig) tells(want string) {
	r.t.Helper()
	r.eventually("told "+want, func() bool { return r.speaker.last() == want }, func() any { return r.speaker.all() })
}

func (r *peeringRig) secret(name string, kind corev1.SecretType, password string) {
	r.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: name}, Type: kind, Data: map[string][]byte{"password": []byte(password)}}
	_ = r.secrets.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("secrets"), config.Namespace, name)
	if err := r.secrets.Tracker().Add(s); err != nil {
		r.t.Fatal(err)
	}
}

func TestPeersAreTold(t *testing.T) {
	r := newPeeringRig(t)
	r.set("web", "203.0.113.1", "node-2")
	r.run()
	r.tells("") // whatever an earlier process has told ends
	r.apply(bgpPeer("tor"))
	r.tells("tor:203.0.113.1/32")
	r.set("other", "203.0.113.2", "node-2")
	r.tells("tor:203.0.113.1/32,203.0.113.2/32")
	r.eventually("reports", func() bool { return r.reports.names() == "node-1/other node-1/web" }, func() any { return r.reports.names() })
	if got := fmt.Sprintf("%v of %s", r.reports.wants["node-1/web"].fields, r.reports.wants["node-1/web"].owner); got != "map[peers:[tor]] of uid-node-1" {
		t.Errorf("report %s", got)
	}
	assigned := []string{`Normal/metallb-speaker/nodeAssigned/announcing from node "node-1" with protocol "bgp"`}
	r.eventually("an event", func() bool { return slices.Equal(r.events.about("other"), assigned) }, func() any { return r.events.about("other") })
	if got := testutil.CollectAndCount(r.node, "metallb_speaker_announced"); got != 2 {
		t.Errorf("%d metrics, want 2", got)
	}

	// Without endpoints it is withdrawn, and what comes back is announced anew.
	r.set("web", "203.0.113.1")
	r.tells("tor:203.0.113.2/32")
	r.eventually("one report", func() bool { return r.reports.names() == "node-1/other" }, func() any { return r.reports.names() })
	r.set("web", "203.0.113.1", "node-1")
	r.tells("tor:203.0.113.1/32,203.0.113.2/32")
	r.eventually("two events", func() bool { return len(r.events.about("web")) == 2 }, func() any { return r.events.about("web") })

	// The address of a node is nobody's to announce, nor are those of pools without a BGPAdvertisement.
	r.set("other", "172.30.0.12", "node-1")
	r.tells("tor:203.0.113.1/32")
	r.deleteObject(metallb.KindBGPPeer, "tor")
	r.tells("")
	r.eventually("no report", func() bool { return r.reports.names() == "" }, func() any { return r.reports.names() })
	states := r.speaker.all()
	for i := 1; i < len(states); i++ {
		if states[i] == states[i-1] {
			t.Errorf("the same was told twice: %q", states)
		}
	}
}

// A node that was told to withdraw tells nothing any more.
func TestWithdraw(t *testing.T) {
	r := newPeeringRig(t)
	r.apply(bgpPeer("tor"))
	r.set("web", "203.0.113.1", "node-1")
	r.run()
	r.tells("tor:203.0.113.1/32")
	if err := r.node.Withdraw(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.set("other", "203.0.113.2", "node-1")
	r.wants("other", "203.0.113.2?>node-1") // it was decided about
	if r.node.peering.apply(t.Context(), bgp.State{}) || r.speaker.last() != "" {
		t.Errorf("after the withdrawal %q is told", r.speaker.all())
	}
}

// A speaker that can't act holds nothing up.
func TestASpeakerThatIsStuck(t *testing.T) {
	r := newPeeringRig(t)
	r.speaker.stuck = true
	r.apply(bgpPeer("tor"))
	r.run()
	r.set("web", "203.0.113.1", "node-1")
	r.wants("web", "203.0.113.1>node-1")
	r.tells("tor:203.0.113.1/32")
}

// What routers were told before is no news.
func TestRoutesOfAnEarlierProcess(t *testing.T) {
	r := newPeeringRig(t)
	r.speaker.sessions = []bgp.Session{{Peer: "tor", State: bgp.Established, Advertised: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}}}
	r.apply(bgpPeer("tor"))
	r.eventually("a peer", func() bool { c, _ := r.settings.Current(); return len(c.Peers) == 1 && len(c.BGP) == 1 }, func() any { return "none" })
	r.set("web", "203.0.113.1", "node-1")
	r.set("other", "203.0.113.2", "node-1")
	r.run()
	r.eventually("reports", func() bool { return r.reports.names() == "node-1/other node-1/web" }, func() any { return r.reports.names() })
	if states := r.speaker.all(); len(states) != 1 {
		t.Errorf("the first State was not complete: %q", states)
	}
	if web, other := r.events.about("web"), r.events.about("other"); len(web) != 0 || len(other) != 1 {
		t.Errorf("events %q and %q", web, other)
	}
}

func TestPasswordsFromSecrets(t *testing.T) {
	r := newPeeringRig(t)
	r.apply(bgpPeer("tor", withSecret("rack")))
	r.set("web", "203.0.113.1", "node-1")
	r.run()
	missing := "Warning/metallb-speaker/ConfigurationError/spec.passwordSecret: Secret metallb-system/rack is missing, "
	r.eventually("an event", func() bool {
		return slices.ContainsFunc(r.events.about("tor"), func(e string) bool { return strings.HasPrefix(e, missing) })
	}, func() any { return r.events.about("tor") })
	r.tells("")
	r.secret("rack", corev1.SecretTypeOpaque, "no")
	r.node.peering.secrets.want([]string{"rack"}, true)
	r.secret("rack", corev1.SecretTypeBasicAuth, "one")
	r.tells("tor(one):203.0.113.1/32")
	r.secret("rack", corev1.SecretTypeBasicAuth, "two")
	r.apply(bgpPeer("tor", withSecret("rack"), func(spec map[string]any) { spec["holdTime"] = "30s" }))
	r.tells("tor(two):203.0.113.1/32")
	if got := r.events.about("tor"); len(got) != 1 {
		t.Errorf("events %q", got)
	}
}

// As long as it is not known what a Secret has, routers keep what an earlier process has told them.
func TestASecretThatCannotBeRead(t *testing.T) {
	r := newPeeringRig(t)
	r.secret("rack", corev1.SecretTypeBasicAuth, "one")
	var mu sync.Mutex
	asked, refuse := 0, true
	r.secrets.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		return refuse, nil, errors.New("the server is busy")
	})
	r.apply(bgpPeer("tor", withSecret("rack")))
	r.eventually("a peer", func() bool { c, _ := r.settings.Current(); return len(c.Peers) == 1 && len(c.BGP) == 1 }, func() any { return "none" })
	r.set("web", "203.0.113.1", "node-1")
	r.run()
	r.eventually("a request", func() bool { mu.Lock(); defer mu.Unlock(); return asked > 0 }, func() any { return "none" })
	if got := r.speaker.last(); got != "nothing" {
		t.Errorf("%q was told without the password", got)
	}
	mu.Lock()
	refuse = false
	mu.Unlock()
	r.tells("tor(one):203.0.113.1/32")
	if got := r.events.about("tor"); len(got) != 0 || len(r.speaker.all()) != 1 {
		t.Errorf("events %q, States %q", got, r.speaker.all())
	}
}

func TestSessionsAreExplained(t *testing.T) {
	r := newPeeringRig(t)
	r.apply(bgpPeer("tor"))
	r.set("web", "203.0.113.1", "node-1")
	r.run()
	r.tells("tor:203.0.113.1/32")
	state := State{Services: []ServiceState{{Namespace: "default", Name: "web", Decision: pool.Decision{Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, Pool: "routed"}}}}
	for _, c := range []struct {
		session        bgp.Session
		state, message string
	}{
		{bgp.Session{Peer: "tor", State: bgp.Established}, bgp.Established, "told because of BGPAdvertisement routed"},
		{bgp.Session{Peer: "tor", State: "Active", Error: "connection refused"}, "Active", "told because of BGPAdvertisement routed; but there is no session, it is Active: connection refused"},
	} {
		r.speaker.mu.Lock()
		r.speaker.sessions = []bgp.Session{c.session}
		r.speaker.mu.Unlock()
		got, err := r.node.Explain(state, r.node.Sessions()...)
		if err != nil {
			t.Fatal(err)
		}
		peers := got[0].Addresses[0].Peers
		if len(peers) != 3 || peers[0].Session != c.state || peers[0].Error != c.session.Error || peers[0].Message != c.message || peers[1].Session != "" {
			t.Errorf("peers %+v", peers)
		}
	}
}
