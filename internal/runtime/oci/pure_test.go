package oci

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSignalNumber(t *testing.T) {
	for in, want := range map[string]int{
		"SIGTERM": 15, "term": 15, "15": 15, "SIGQUIT": 3, "SIGRTMIN+3": 37, "RTMAX-1": 63, "SIGRTMIN": 34,
		"": 0, "0": 0, "-9": 0, "99": 0, "SIGNOPE": 0, "SIGRTMIN+x": 0, "SIGRTMAX+1": 0,
	} {
		if got, ok := signalNumber(in); ok != (want != 0) || ok && got != want {
			t.Errorf("signalNumber(%q) = %d, %v; want %d", in, got, ok, want)
		}
	}
	for _, tc := range []struct {
		asked runtimeapi.Signal
		image string
		want  int
	}{
		{runtimeapi.Signal_RUNTIME_DEFAULT, "", 15},
		{runtimeapi.Signal_RUNTIME_DEFAULT, "SIGINT", 2},
		{runtimeapi.Signal_SIGUSR1, "SIGINT", 10},
		{runtimeapi.Signal_SIGRTMINPLUS2, "", 36},
		{runtimeapi.Signal_RUNTIME_DEFAULT, "rubbish", 15},
	} {
		if got := stopSignal(tc.asked, tc.image); got != tc.want {
			t.Errorf("stopSignal(%v, %q) = %d, want %d", tc.asked, tc.image, got, tc.want)
		}
	}
}

func TestRuntimeMessage(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"plain error of crun\n": "plain error of crun",
		"one\n\ntwo\n":          "one; two",
		`time="2024-01-01T00:00:00Z" level=error msg="exec: \"/x\": no such file"` + "\n": `exec: "/x": no such file`,
	} {
		if got := runtimeMessage(in); got != want {
			t.Errorf("runtimeMessage(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestResolveUser(t *testing.T) {
	db := userDatabase{
		users:  []passwdEntry{{"root", 0, 0, "/root"}, {"app", 10, 20, "/app"}},
		groups: []groupEntry{{"root", 0, nil}, {"staff", 30, []string{"app"}}, {"own", 20, []string{"app"}}},
	}
	for in, want := range map[string]foundUser{
		"":           {0, 0, "/root", nil},
		"app":        {10, 20, "/app", []uint32{30}},
		"10":         {10, 20, "/app", []uint32{30}},
		"app:staff":  {10, 30, "/app", []uint32{20}},
		"app:7":      {10, 7, "/app", []uint32{30, 20}},
		"99":         {99, 0, "/", nil},
		"99:staff":   {99, 30, "/", nil},
		"4294967295": {4294967295, 0, "/", nil},
	} {
		got, err := db.resolve(in)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(foundUser{})); err != nil || diff != "" {
			t.Errorf("resolve(%q): %v\n%s", in, err, diff)
		}
	}
	for _, bad := range []string{"nobody", "app:nogroup", "4294967296", "-1"} {
		if got, err := db.resolve(bad); err == nil {
			t.Errorf("resolve(%q) = %v", bad, got)
		}
	}
	if got, err := (userDatabase{}).resolve("0"); err != nil || got.home != "/root" {
		t.Errorf("root without a passwd file: %v, %v", got, err)
	}
}

func TestResolvConf(t *testing.T) {
	got, err := resolvConf(&runtimeapi.DNSConfig{Servers: []string{"10.96.0.10", "fd00::a"}, Options: []string{"ndots:5"}})
	if err != nil || string(got) != "nameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n" {
		t.Errorf("resolv.conf = %q, %v", got, err)
	}
}

func FuzzUserDatabase(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", "root:x:0:a,b\n", "root:root")
	f.Add("::::::", ":::", ":")
	f.Fuzz(func(t *testing.T, passwd, group, user string) {
		db := userDatabase{}
		db.addUsers(strings.NewReader(passwd))
		db.addGroups(strings.NewReader(group))
		found, err := db.resolve(user)
		if err == nil && slices.Contains(mergeGroups(found, nil, runtimeapi.SupplementalGroupsPolicy_Strict), found.gid) == false {
			t.Errorf("resolve(%q) = %v loses its group", user, found)
		}
	})
}
