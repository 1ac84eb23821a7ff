package ctlline

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Etcdctl returns etcdctl's arguments in a command that somebody runs in etcd's Pod on
// a node with these addresses. They name no place of etcd and no certificate: whoever
// runs them adds that.
func Etcdctl(command []string, node []netip.Addr) ([]string, error) {
	words := command
	if len(words) > 0 && slices.Contains([]string{"sh", "bash", "ash"}, path.Base(words[0])) {
		if len(words) < 3 || words[1] != "-c" {
			return nil, fmt.Errorf("there is no shell here; type `etcdctl …`, or `sh -c \"etcdctl …\"`")
		}
		var err error
		if words, err = Words(words[2]); err != nil {
			return nil, err
		}
	}
	if len(words) > 0 && path.Base(words[0]) == "env" {
		words = words[1:]
	}
	for len(words) > 0 && strings.Contains(words[0], "=") {
		if words[0] != "ETCDCTL_API=3" {
			return nil, fmt.Errorf("the variable %s can't be set here: only ETCDCTL_API=3 can, and etcdctl's flags can be given", words[0])
		}
		words = words[1:]
	}
	if len(words) == 0 || path.Base(words[0]) != "etcdctl" {
		return nil, fmt.Errorf("%q can't be run here: this Pod shows a part of Minato's own process, beside which there is etcdctl and no other program", strings.Join(command, " "))
	}
	return arguments(words[1:], node)
}

// commands are those of etcdctl that neither read or write files of the machine nor
// run programs there, with the subcommands that are allowed; nil allows all.
var commands = map[string][]string{
	"get": nil, "put": nil, "del": nil, "compaction": nil, "defrag": nil, "version": nil, "lease": nil,
	"endpoint": {"health", "status", "hashkv"}, "member": {"list"}, "alarm": {"list", "disarm"},
}

// global are etcdctl's flags for all commands that may be given, and whether they
// have a value.
var global = map[string]bool{
	"hex": false, "debug": false, "insecure-transport": false, "insecure-skip-tls-verify": false,
	"write-out": true, "w": true, "dial-timeout": true, "command-timeout": true, "keepalive-time": true, "keepalive-timeout": true,
	"endpoints": true, "cacert": true, "cert": true, "key": true,
}

// placed are the flags about where etcd is and who asks, which are checked and left
// out.
var placed = []string{"endpoints", "cacert", "cert", "key", "insecure-transport", "insecure-skip-tls-verify"}

// arguments checks the words after "etcdctl" and puts the command first.
func arguments(words []string, node []netip.Addr) ([]string, error) {
	var flags, rest []string
	for i := 0; i < len(words); i++ {
		word := words[i]
		name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
		takes, known := global[name]
		switch {
		case len(rest) > 0 && word == "--":
			rest = append(rest, words[i:]...)
			i = len(words)
			continue
		case !strings.HasPrefix(word, "-") || word == "-":
			rest = append(rest, word)
			continue
		case !known && len(rest) == 0:
			return nil, fmt.Errorf("the flag %s can't be given here before the command; etcdctl's global flags that can are --endpoints, --cacert, --cert, --key, --write-out, --hex and those about time", word)
		case !known && refused(name):
			return nil, fmt.Errorf("the flag %s can't be given here; `minato etcdctl` on the machine takes it", word)
		case !known:
			rest = append(rest, word)
			continue
		}
		if takes && !hasValue {
			if i++; i == len(words) {
				return nil, fmt.Errorf("the flag %s needs a value", word)
			}
			value = words[i]
		}
		if slices.Contains(placed, name) {
			if err := check(name, value, node); err != nil {
				return nil, err
			}
			continue
		}
		flags = append(flags, word)
		if takes && !hasValue {
			flags = append(flags, value)
		}
	}
	if err := allowed(rest); err != nil {
		return nil, err
	}
	return slices.Concat(rest[:1], flags, rest[1:]), nil
}

// refused are global flags that lead elsewhere.
func refused(name string) bool {
	return slices.Contains([]string{"discovery-srv", "d", "discovery-srv-name", "insecure-discovery", "user", "password"}, name)
}

// allowed tells whether the command may be run.
func allowed(words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("etcdctl needs a command, such as `get / --prefix --keys-only --limit=10`")
	}
	subcommands, ok := commands[words[0]]
	if ok && subcommands != nil {
		i := slices.IndexFunc(words[1:], func(w string) bool { return !strings.HasPrefix(w, "-") })
		ok = i >= 0 && slices.Contains(subcommands, words[1+i])
	}
	if !ok {
		return fmt.Errorf("`etcdctl %s` can't be run here, since it would reach files or programs of the machine, or change the cluster of etcd; `minato etcdctl %s` does it on the machine", strings.Join(words, " "), words[0])
	}
	return nil
}

// credentials are kubeadm's files with which etcd is reached. They are nowhere in a
// node's files: the server itself, which asks, needs none.
var credentials = []string{"etcd/ca", "etcd/server", "etcd/peer", "etcd/healthcheck-client", "apiserver-etcd-client"}

const credentialDir = "/etc/kubernetes/pki/"

func check(flag, value string, node []netip.Addr) error {
	switch flag {
	case "endpoints":
		for one := range strings.SplitSeq(value, ",") {
			if !own(one, node) {
				return fmt.Errorf("--endpoints %s: this etcd answers for 127.0.0.1:2379 and no other place; leave the flag out", one)
			}
		}
	case "cacert", "cert", "key":
		name, ext := strings.TrimSuffix(value, path.Ext(value)), path.Ext(value)
		want := map[string]string{"cacert": ".crt", "cert": ".crt", "key": ".key"}[flag]
		if name, ok := strings.CutPrefix(name, credentialDir); !ok || ext != want || !slices.Contains(credentials, name) {
			return fmt.Errorf("--%s: open %s: no such file; leave the flag out, or name %setcd/server%s as with kubeadm", flag, value, credentialDir, want)
		}
	}
	return nil
}

// own tells whether an endpoint is this etcd's, as people write it.
func own(endpoint string, node []netip.Addr) bool {
	endpoint = strings.TrimPrefix(strings.TrimPrefix(endpoint, "https://"), "http://")
	if endpoint == "localhost:2379" {
		return true
	}
	at, err := netip.ParseAddrPort(endpoint)
	return err == nil && at.Port() == 2379 && (at.Addr().IsLoopback() || slices.Contains(node, at.Addr()))
}
