package oci

import (
	"testing"

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

func TestResolvConf(t *testing.T) {
	got, err := resolvConf(&runtimeapi.DNSConfig{Servers: []string{"10.96.0.10", "fd00::a"}, Options: []string{"ndots:5"}})
	if err != nil || string(got) != "nameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n" {
		t.Errorf("resolv.conf = %q, %v", got, err)
	}
}
