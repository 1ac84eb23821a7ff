package host

import (
	"os/exec"
	"strings"
	"testing"
)

func TestInspects(t *testing.T) {
	requireRoot(t)
	ns := testNetns(t, "mt-inspect")
	run := func(command string) {
		t.Helper()
		args := strings.Fields(command)
		err := ns.Do(func() error {
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				t.Logf("%s: %s", command, out)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, ipv4, ipv6 bool) {
		t.Helper()
		got, err := ns.Inspects()
		if err != nil || got != (Inspection{ipv4, ipv6}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	want("nothing", false, false)
	run("nft add table ip a")
	run("nft add chain ip a in { type filter hook input priority 0 ; }")
	want("what is for the node itself", false, false)
	run("nft add chain ip a plain")
	want("a chain that nothing leads to", false, false)
	run("nft add chain ip a f { type filter hook forward priority 0 ; }")
	want("a filter", true, false)
	run("nft delete table ip a")
	want("nothing any more", false, false)
	run("nft add table ip6 b")
	run("nft add chain ip6 b post { type nat hook postrouting priority 100 ; }")
	want("IPv6", false, true)
	run("nft flush ruleset")
	run("nft add table inet c")
	run("nft add chain inet c pre { type filter hook prerouting priority 0 ; }")
	want("both families", true, true)
	run("nft flush ruleset")
	run("ip xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out")
	want("encryption", true, true)
	run("ip xfrm policy flush")
	want("nothing in the end", false, false)
}
