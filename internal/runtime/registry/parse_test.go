package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// show prints what tests compare of an endpoint.
func show(e endpoint) string {
	s := e.scheme + "://" + e.host + e.path
	for _, f := range []struct {
		on   bool
		text string
	}{
		{e.fallback, "fallback"}, {!e.pull, "no-pull"}, {!e.resolve, "no-resolve"}, {e.skipVerify != nil && *e.skipVerify, "skip-verify"},
		{len(e.caFiles) > 0, "ca=" + strings.Join(e.caFiles, ",")}, {len(e.clientPairs) > 0, fmt.Sprint("client=", e.clientPairs)},
		{len(e.header) > 0, fmt.Sprint("header=", e.header)}, {e.dialTimeout > 0, "dial=" + e.dialTimeout.String()},
	} {
		if f.on {
			s += " " + f.text
		}
	}
	return s
}

func shown(endpoints []endpoint) string {
	var lines []string
	for _, e := range endpoints {
		lines = append(lines, show(e))
	}
	return strings.Join(lines, "\n")
}

// The cases are those of containerd's documentation of hosts.toml.
func TestParseHosts(t *testing.T) {
	for _, tc := range []struct{ name, registry, text, want string }{
		{"nothing", "registry.example", "", "https://registry.example/v2"},
		{"docker.io", "docker.io", "", "https://registry-1.docker.io/v2"},
		{"this machine", "localhost:5000", "", "https://localhost:5000/v2 fallback"},
		{"this machine, port 80", "127.0.0.1:80", "", "http://127.0.0.1:80/v2"},
		{"plain server", "r:5000", `server = "http://r:5000"`, "http://r:5000/v2"},
		{"server without a scheme", "r", `server = "other:443"`, "https://other:443/v2"},
		{
			"mirrors in the order of the file", "docker.io", `
server = "https://registry-1.docker.io"
[host."https://z.example"]
capabilities = ["pull"]
[host."http://a.example:5000/base"]
capabilities = ["pull", "resolve", "push"]
[host."http://a.example:5000/base".header]
x-token = "1"
x-list = ["2", "3"]
[host."https://m.example/proxy"]
override_path = true
`, `https://z.example/v2 no-resolve
http://a.example:5000/base/v2 header=map[X-List:[2 3] X-Token:[1]]
https://m.example/proxy
https://registry-1.docker.io/v2`,
		},
		{
			"certificates", "r", `
ca = "ca.pem"
client = [["c.pem", "/k.pem"], "both.pem"]
skip_verify = false
dial_timeout = "3s"
[host."https://m"]
ca = ["/1.pem", "2.pem"]
client = "c.pem"
skip_verify = true
`, `https://m/v2 skip-verify ca=/1.pem,/base/2.pem client=[[/base/c.pem /base/c.pem]]
https://r/v2 ca=/base/ca.pem client=[[/base/c.pem /k.pem] [/base/both.pem /base/both.pem]] dial=3s`,
		},
		{"http with TLS settings", "r", "server = 'http://r:1'\nskip_verify = true", "https://r:1/v2 fallback skip-verify"},
		{"only push", "r", "capabilities = ['push']", "https://r/v2 no-pull no-resolve"},
		{"path that ends with v2", "r", "server = 'https://r/x/v2/'", "https://r/x/v2"},

		{"not TOML", "r", "server = ", "error: line 1"},
		{"unknown field", "r", "[host.'https://m']\ncapability = ['pull']", "error: line 2: host.https://m.capability is not a field"},
		{"unknown capability", "r", "capabilities = ['fly']", `error: capabilities: "fly" is none`},
		{"scheme", "r", "server = 'ftp://r'", "error: server \"ftp://r\": the scheme is http or https"},
		{"no host", "r", "[host.'https://']", "names no host"},
		{"login in the URL", "r", "server = 'https://u:p@r'", "a login does not belong there"},
		{"query", "r", "server = 'https://r?x'", "has a query"},
		{"ca of a number", "r", "ca = 1", "error: ca: give the path"},
		{"three of a pair", "r", "client = [['a','b','c']]", "error: client:"},
		{"header of a number", "r", "[header]\nx = 1", `error: header: "x"`},
		{"header with a line break", "r", "[header]\nx = \"a\\nb\"", "line break"},
		{"timeout", "r", "dial_timeout = 'soon'", "error: dial_timeout \"soon\""},
		{"inline mirror", "r", "host = { 'https://m' = {} }", "give it a table of its own"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseHosts([]byte(tc.text), tc.registry, "/base")
			text := shown(got)
			if err != nil {
				text = "error: " + err.Error()
			}
			if isError := strings.HasPrefix(text, "error: "); text != tc.want && !(isError && strings.Contains(text, tc.want)) {
				t.Errorf("got\n%s\nwant\n%s", text, tc.want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("certs.d/docker.io/hosts.toml", "[host.'https://m']")
	write("certs.d/r:5000/hosts.toml", "server = 'http://r:5000'")
	write("certs.d/q_5000_/hosts.toml", "server = 'http://q:5000'")
	write("certs.d/c/x.crt", "")
	write("certs.d/c/y.cert", "")
	write("certs.d/c/y.key", "")
	write("certs.d/_default/hosts.toml", "[host.'https://all']")
	write("one.toml", "['docker.io']\n['docker.io'.host.'https://z']\n['docker.io'.host.'https://a']\n['r:1']\nserver = 'http://r:1'\n[_default.host.'https://all']")
	write("bad/r/hosts.toml", "servers = 1")
	write("bad/q/hosts.toml", "ca = 'none.pem'")
	write("bad.toml", "server = 'https://r'")
	folder, file := Config{Path: filepath.Join(dir, "certs.d")}, Config{Path: filepath.Join(dir, "one.toml")}
	for _, tc := range []struct {
		cfg            Config
		registry, want string
	}{
		{Config{}, "r", "https://r/v2"},
		{folder, "docker.io", "https://m/v2\nhttps://registry-1.docker.io/v2"},
		{folder, "r:5000", "http://r:5000/v2"},
		{folder, "q:5000", "http://q:5000/v2"},
		{folder, "c", "https://c/v2 ca=" + folder.Path + "/c/x.crt client=[[" + folder.Path + "/c/y.cert " + folder.Path + "/c/y.key]]"},
		{folder, "other", "https://all/v2\nhttps://other/v2"},
		{file, "docker.io", "https://z/v2\nhttps://a/v2\nhttps://registry-1.docker.io/v2"},
		{file, "r:1", "http://r:1/v2"},
		{file, "other", "https://all/v2\nhttps://other/v2"},
	} {
		got, err := tc.cfg.endpoints(tc.registry)
		if err != nil || shown(got) != tc.want {
			t.Errorf("%s of %q: got\n%s, %v\nwant\n%s", tc.registry, tc.cfg.Path, shown(got), err, tc.want)
		}
	}
	if err := file.Check(); err != nil {
		t.Error(err)
	}
	for path, want := range map[string][]string{
		"bad":      {"bad/r/hosts.toml: line 1: servers is not a field", "none.pem: no such file"},
		"bad.toml": {"bad.toml: "},
		"none":     {"no such file"},
	} {
		err := Config{Path: filepath.Join(dir, path)}.Check()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("check %s = %v, want %q", path, err, w)
			}
		}
	}
}

func TestParseChallenges(t *testing.T) {
	for header, want := range map[string]string{
		``:                `[]`,
		`Basic realm="r"`: `[{basic map[realm:r]}]`,
		`Basic`:           `[{basic map[]}]`,
		`Bearer realm="https://a/t?x=1,2",service=s, scope="repository:a/b:pull,push"`: `[{bearer map[realm:https://a/t?x=1,2 scope:repository:a/b:pull,push service:s]}]`,
		`Negotiate, Basic realm="a\"b" , Bearer Realm = x`:                             `[{negotiate map[]} {basic map[realm:a"b]} {bearer map[realm:x]}]`,
		`Bearer realm="open`: `[{bearer map[]}]`,
		`="x"`:               `[]`,
	} {
		if got := fmt.Sprint(parseChallenges(header)); got != want {
			t.Errorf("%s = %s, want %s", header, got, want)
		}
	}
}

func FuzzParseHosts(f *testing.F) {
	f.Add([]byte("server = 'https://r'\n[host.'http://m']\ncapabilities=['pull']\nclient=[['a','b']]\n[host.'http://m'.header]\nx=['1']"))
	f.Add([]byte("['docker.io']\n['docker.io'.host.'https://z']"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if endpoints, err := parseHosts(data, "r", "/base"); err == nil {
			for _, e := range endpoints {
				if e.host == "" || e.scheme != "http" && e.scheme != "https" || e.path != "" && !strings.HasPrefix(e.path, "/") {
					t.Errorf("endpoint %s", show(e))
				}
			}
		}
		all, err := parseRegistries(data)
		if err == nil {
			for _, table := range all {
				table.endpoints("r", "/base")
			}
		}
	})
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a",service="b", Basic realm=x`)
	f.Fuzz(func(t *testing.T, header string) {
		n := 0
		for _, ch := range parseChallenges(header) {
			n += 1 + len(ch.params)
		}
		if n > maxParams {
			t.Errorf("%d parts", n)
		}
	})
}
