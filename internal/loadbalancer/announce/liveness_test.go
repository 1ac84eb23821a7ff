package announce

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// history runs a liveness through rounds of 50 ms. Each word of script is one round: the names that are heard in it, one
// letter each, with G for the gateway and - for nobody; a word with a * and a number is so many rounds; +carrier and
// -carrier plug the cable, and start and stop begin and end the probing.
func history(t *testing.T, l *liveness, script string) {
	t.Helper()
	now := time.Unix(0, 0)
	for _, word := range strings.Fields(script) {
		switch word {
		case "+carrier", "-carrier":
			l.setCarrier(word[0] == '+', now)
			continue
		case "start", "stop":
			l.activate(word == "start")
			continue
		}
		who, times := word, 1
		if a, b, ok := strings.Cut(word, "*"); ok {
			who = a
			if _, err := fmt.Sscan(b, &times); err != nil {
				t.Fatal(err)
			}
		}
		for range times {
			asked := l.next(now)
			now = now.Add(10 * time.Millisecond)
			for _, c := range who {
				switch {
				case c == 'G' && asked:
					l.heardGateway(now)
				case c != '-' && c != 'G':
					l.heard(string(c), now)
				}
			}
			now = now.Add(40 * time.Millisecond)
		}
	}
	// The round that was last is over.
	l.next(now)
}

func summary(v View) string {
	if !v.Active {
		return "idle"
	}
	var out []string
	for _, name := range []string{"a", "b"} {
		alive, known := v.Peers[name]
		switch {
		case !known:
			out = append(out, name+"?")
		case alive:
			out = append(out, name)
		default:
			out = append(out, "!"+name)
		}
	}
	if v.Self {
		return strings.Join(append(out, "self"), " ")
	}
	return strings.Join(append(out, "!self"), " ")
}

func TestLiveness(t *testing.T) {
	for _, c := range []struct{ what, script, want string }{
		{"nothing to announce", "", "idle"},
		{"nobody was asked", "start", "a? b? self"},
		{"who is heard at the start counts at once", "start ab", "a b self"},
		{"two answers missing say nothing", "start ab b*2", "a b self"},
		{"three do", "start ab b*3", "!a b self"},
		{"in a row", "start ab b*2 ab b*2", "a b self"},
		{"at the start too", "start b*2", "a? b self"},
		{"who never answers is dead", "start b*3", "!a b self"},
		{"and counts at once when it is heard first", "start b*9 ab", "a b self"},
		{"but not a second time", "start b*9 ab b*3 ab*50", "!a b self"},
		{"who comes back waits", "start ab b*3 ab*50", "!a b self"},
		{"for three seconds", "start ab b*3 ab*62", "a b self"},
		{"without a gap", "start ab b*3 ab*50 b ab*50", "!a b self"},
		{"and dies at once again", "start ab b*3 ab*62 b*3", "!a b self"},
		{"the gateway is enough", "start ab G*10", "!a !b self"},
		{"without it the node is not alive", "start ab -*3 -*3", "!a !b !self"},
		{"which takes a few rounds", "start ab -*3 -*2", "!a !b self"},
		{"at the start too", "start -*3", "!a !b !self"},
		{"and ends at once when the first is heard", "start -*3 a", "a !b self"},
		{"it waits, and the others, who were not away, do not", "start ab -*6 ab*50", "a b !self"},
		{"they are known before it comes back", "start ab -*6 a b*3 ab*58", "a b self"},
		{"and comes back with them", "start ab -*6 ab*62", "a b self"},
		{"also with who was heard a little later", "start ab -*6 a*3 ab*59", "a b self"},
		{"not with who is not heard any more", "start ab -*6 a*3 ab*50 a*9", "a !b self"},
		{"the gateway dies last", "start ab G*10 -*3", "!a !b !self"},
		{"no cable, no life", "start ab -carrier", "a b !self"},
		{"the cable alone does not bring it back", "start ab -carrier +carrier ab*50", "a b !self"},
		{"but the wait does", "start ab -carrier +carrier ab*62", "a b self"},
		{"no cable at the start", "-carrier start -*4", "!a !b !self"},
		{"idle again", "start ab -*9 stop", "idle"},
		{"after which all is new", "start ab -*9 stop start ab", "a b self"},
		{"an answer while idle is none", "ab*3", "idle"},
	} {
		l := newLiveness(3, 3*time.Second)
		l.gateways = true
		l.setPeers([]string{"a", "b"})
		history(t, l, c.script)
		if got := summary(l.view()); got != c.want {
			t.Errorf("%s: after %q: %s, want %s", c.what, c.script, got, c.want)
		}
	}
}

// A node whose process was away for too long waits for as long as the others let it wait.
func TestLivenessAway(t *testing.T) {
	for script, want := range map[string]string{
		"start ab*50": "a b !self", "start ab*62": "a b self", "start -*9": "!a !b !self", "start ab*62 stop start ab": "a b self",
	} {
		l := newLiveness(3, 3*time.Second)
		l.gateways, l.away = true, true
		l.setPeers([]string{"a", "b"})
		history(t, l, script)
		if got := summary(l.view()); got != want {
			t.Errorf("after %q: %s, want %s", script, got, want)
		}
	}
}

func TestLivenessWithoutWitness(t *testing.T) {
	alone := newLiveness(3, 3*time.Second)
	alone.gateways = true
	history(t, alone, "start -*20")
	if !alone.view().Self {
		t.Error("a node without peers is not alive")
	}
	noGateway := newLiveness(3, 3*time.Second)
	noGateway.setPeers([]string{"a", "b"})
	history(t, noGateway, "start ab -*20")
	if got := summary(noGateway.view()); got != "!a !b self" {
		t.Errorf("the survivor without a gateway: %s", got)
	}
	noGateway.setCarrier(false, time.Unix(100, 0))
	if noGateway.view().Self {
		t.Error("a node without a cable is alive")
	}
}

func TestLivenessPeersChange(t *testing.T) {
	l := newLiveness(3, 3*time.Second)
	l.setPeers([]string{"a"})
	history(t, l, "start a a")
	l.setPeers([]string{"a", "b"})
	if got := summary(l.view()); got != "a b? self" {
		t.Errorf("a new peer: %s", got)
	}
	history(t, l, "ab")
	if got := summary(l.view()); got != "a b self" {
		t.Errorf("a new peer that was heard: %s", got)
	}
	l.setPeers([]string{"b"})
	if got := summary(l.view()); got != "a? b self" {
		t.Errorf("a peer that is gone: %s", got)
	}
	l.heard("a", time.Unix(1, 0))
	if got := summary(l.view()); got != "a? b self" {
		t.Errorf("a peer that is gone and heard: %s", got)
	}
}
