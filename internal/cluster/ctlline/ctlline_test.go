package ctlline

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                           nil,
		"  a  b\tc\n":                {"a", "b", "c"},
		`a 'b c' "d \"e\" f"`:        {"a", "b c", `d "e" f`},
		`a\ b "" ''`:                 {"a b", "", ""},
		"a \\\n b":                   {"a", "b"},
		`get "/registry/pods" --x=1`: {"get", "/registry/pods", "--x=1"},
	} {
		if have, err := Words(line); err != nil || !slices.Equal(have, want) {
			t.Errorf("%q: %q, %v; want %q", line, have, err, want)
		}
	}
	for _, line := range []string{"a | b", "a; b", "a > f", "$X", `"$X"`, "`a`", "'a", `"a`, `a\`, "a &", "a && b", "*"} {
		if have, err := Words(line); err == nil {
			t.Errorf("%q is %q", line, have)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add(`a 'b' "c\"" \d`)
	f.Fuzz(func(_ *testing.T, line string) { Words(line) })
}

var node = []netip.Addr{netip.MustParseAddr("172.30.0.11")}

func TestEtcdctl(t *testing.T) {
	const flags = "--cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key"
	for line, want := range map[string]string{
		`sh -c "ETCDCTL_API=3 etcdctl get / --prefix --keys-only --limit=10 ` + flags + `"`: "get / --prefix --keys-only --limit=10",
		"etcdctl get /": "get /",
		"env ETCDCTL_API=3 etcdctl --write-out=table endpoint status":                            "endpoint --write-out=table status",
		"etcdctl -w table endpoint --cluster=false health":                                       "endpoint -w table --cluster=false health",
		"/usr/local/bin/etcdctl --endpoints=https://127.0.0.1:2379,172.30.0.11:2379 member list": "member list",
		"etcdctl --hex get a -- --key":                                                           "get --hex a -- --key",
		"etcdctl put a -":                                                                        "put a -",
		"etcdctl --insecure-skip-tls-verify version":                                             "version",
	} {
		words, err := Words(line)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := Etcdctl(words, node); err != nil || strings.Join(have, " ") != want {
			t.Errorf("%s: %q, %v; want %q", line, have, err, want)
		}
	}
}

// Nothing may be run that reaches the machine, however it is written.
func TestEtcdctlRefuses(t *testing.T) {
	for _, test := range []struct {
		command []string
		says    string
	}{
		{nil, "can't be run here"},
		{[]string{"cat", "/etc/shadow"}, "no other program"},
		{[]string{"sh"}, "no shell"},
		{[]string{"sh", "-c", "etcdctl get / | wc"}, `"|"`},
		{[]string{"sh", "-c", "ETCDCTL_CACERT=/etc/shadow etcdctl get /"}, "ETCDCTL_API=3"},
		{[]string{"etcdctl"}, "needs a command"},
		{[]string{"etcdctl", "snapshot", "save", "/etc/x"}, "minato etcdctl snapshot"},
		{[]string{"etcdctl", "--hex", "lock", "a", "reboot"}, "can't be run"},
		{[]string{"etcdctl", "loc", "a", "reboot"}, "can't be run"},
		{[]string{"etcdctl", "--write-out", "json", "watch", "a", "--", "reboot"}, "can't be run"},
		{[]string{"etcdctl", "--", "lock", "a"}, "can't be given"},
		{[]string{"etcdctl", "--unknown", "get", "lock"}, "can't be given"},
		{[]string{"etcdctl", "member", "remove", "1"}, "can't be run"},
		{[]string{"etcdctl", "member"}, "can't be run"},
		{[]string{"etcdctl", "get", "/", "--cacert=/etc/shadow"}, "no such file"},
		{[]string{"etcdctl", "get", "/", "--cert", "/etc/kubernetes/pki/etcd/../../x.crt"}, "no such file"},
		{[]string{"etcdctl", "get", "/", "--key", "/etc/kubernetes/pki/etcd/server.crt"}, "no such file"},
		{[]string{"etcdctl", "get", "/", "--endpoints=10.0.0.1:2379"}, "127.0.0.1:2379"},
		{[]string{"etcdctl", "get", "/", "--endpoints", "unix:///run/x"}, "127.0.0.1:2379"},
		{[]string{"etcdctl", "get", "/", "--user=root:x"}, "can't be given"},
		{[]string{"etcdctl", "get", "/", "--cacert"}, "needs a value"},
	} {
		if have, err := Etcdctl(test.command, node); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %q, %v; want a refusal that says %q", test.command, have, err, test.says)
		}
	}
}
