package dns

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const kubeadmCorefile = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
`

func n(v uint32) *uint32 { return &v }

func TestKubeadmsCorefileIsUnderstood(t *testing.T) {
	c, notes, err := ParseCorefile(kubeadmCorefile, "cluster.local")
	if err != nil || len(notes) > 0 {
		t.Fatal(err, notes)
	}
	want := Config{TTL: n(30), Pods: "insecure", MaxConcurrent: 1000, Cache: Cache{MaxTTL: n(30), MaxNegativeTTL: n(30)}}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	if _, err := newPolicy(c, "cluster.local"); err != nil {
		t.Error(err)
	}
}

func TestCorefile(t *testing.T) {
	for _, c := range []struct {
		what, text string
		want       Config
		notes      []string
	}{
		{"stub domains", ".:53 {\n forward . 192.0.2.1 192.0.2.2:5353 {\n policy sequential\n except a.example b.example\n force_tcp\n }\n}\ncorp.example:53 {\n errors\n cache 30\n forward . 10.0.0.1 # the office\n}\n", Config{
			Upstream: Upstream{Servers: []string{"192.0.2.1", "192.0.2.2:5353"}, Policy: "ordered", Except: []string{"a.example", "b.example"}, TCP: true},
			Stubs:    []Stub{{Domain: "corp.example.", Upstream: Upstream{Servers: []string{"10.0.0.1"}}}},
		}, nil},
		{"forward of one domain, two names of a block", ".:53,\n cluster.local {\n forward corp.example dns://10.0.0.1\n}\n", Config{
			Stubs: []Stub{{Domain: "corp.example", Upstream: Upstream{Servers: []string{"10.0.0.1"}}}},
		}, nil},
		{"hosts", ". {\n hosts {\n 192.0.2.1 a.example b.example\n ttl 60\n fallthrough\n }\n}", Config{
			Hosts: []Host{{IP: "192.0.2.1", Names: []string{"a.example", "b.example"}}}, HostsTTL: n(60),
		}, nil},
		{"rewrites", ". {\n rewrite name a.example b.example\n rewrite stop {\n name regex (.*)\\.x\\.example {1}.default.svc.cluster.local\n answer name (.*)\\.default\\.svc\\.cluster\\.local {1}.x.example\n }\n}", Config{
			Rewrites: []Rewrite{{Match: "exact", From: "a.example", To: "b.example"}, {Match: "regex", From: `(.*)\.x\.example`, To: "{1}.default.svc.cluster.local"}},
		}, nil},
		{"log, stale and autopath", ". {\n log . {\n class error\n }\n cache {\n success 9984 60\n denial 9984 5\n serve_stale 2h\n prefetch 0\n }\n autopath @kubernetes\n}", Config{
			Log: "errors", Autopath: true, Cache: Cache{MaxTTL: n(60), MaxNegativeTTL: n(5), ServeStale: &metav1.Duration{Duration: 2 * time.Hour}, NoPrefetch: true},
		}, nil},
		{"no braces", ".:53\nlog\nforward . 192.0.2.1\n", Config{Log: "all", Upstream: Upstream{Servers: []string{"192.0.2.1"}}}, nil},
		{"what is not understood", ". {\n template IN A x {\n answer y\n }\n forward . tls://9.9.9.9 dns.example 192.0.2.1\n rewrite type ANY HINFO\n kubernetes other.local {\n pods maybe\n }\n hosts /etc/hosts {\n nonsense\n }\n}\ntls://. {\n}\nstub.example:5353 {\n whoami\n}", Config{
			Upstream: Upstream{Servers: []string{"192.0.2.1"}},
		}, []string{"template", "tls", "dns.example", "rewrite type", "other.local", "pods maybe", "/etc/hosts", "nonsense", "only plain DNS", "port 5353", "whoami", "neither forward nor hosts"}},
	} {
		got, notes, err := ParseCorefile(c.text, "cluster.local")
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.what, d)
		}
		if len(notes) != len(c.notes) {
			t.Errorf("%s: %d notes, want %d: %q", c.what, len(notes), len(c.notes), notes)
		}
		for _, want := range c.notes {
			if !strings.Contains(strings.Join(notes, "\n"), want) {
				t.Errorf("%s: nothing is said of %q: %q", c.what, want, notes)
			}
		}
	}
}

func TestNoCorefile(t *testing.T) {
	for _, text := range []string{". {\n forward . 192.0.2.1\n", "}\n", ". {\n \"x\n}", "{\n}", ".\n{\n}", strings.Repeat(". {\n", 20)} {
		if _, _, err := ParseCorefile(text, "cluster.local"); err == nil {
			t.Errorf("%q is taken for a Corefile", text)
		}
	}
}

func FuzzCorefile(f *testing.F) {
	f.Add(kubeadmCorefile)
	f.Add(". {\n hosts {\n 192.0.2.1 a\n }\n rewrite name a b\n forward . 1.1.1.1\n}\nx:53 {\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := ParseCorefile(text, "cluster.local")
		if err == nil {
			_, _ = newPolicy(c, "cluster.local") // it may be wrong, but must not panic
		}
	})
}
