package cluster

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"minato/internal/host"
)

// A node has what is its own, and else what every node has.
func TestClaimOfANode(t *testing.T) {
	c := Config{Claim: Claim{CPUs: 2, Memory: 1 << 30, HugePages: HugePages{2 << 20: 8 << 20, 1 << 30: 0}}}
	if got := c.claim(NodeSpec{}); !reflect.DeepEqual(got, c.Claim) {
		t.Errorf("of a node like the others: %+v", got)
	}
	own := NodeSpec{Name: "big", Claim: Claim{Memory: 2 << 30, PIDs: 200, HugePages: HugePages{2 << 20: 4 << 20}}}
	want := Claim{CPUs: 2, Memory: 2 << 30, PIDs: 200, HugePages: HugePages{2 << 20: 4 << 20, 1 << 30: 0}}
	if got := c.claim(own); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if c.Claim.HugePages[2<<20] != 8<<20 {
		t.Error("the cluster's claim has changed")
	}
	full := DefaultConfig()
	full.NodeList = []NodeSpec{{Number: 1, Name: "node-1"}, {Number: 2, Name: "big", Claim: Claim{PIDs: 1}}}
	if err := full.Validate(); err == nil || !strings.Contains(err.Error(), "node big: --node-pids 1") {
		t.Errorf("a claim that is too small: %v", err)
	}
	if got := want.String(); got != "--node-cpu 2 --node-memory 2Gi --node-pids 200 --node-hugepages 2Mi=4Mi,1Gi=0" {
		t.Error(got)
	}
}

func TestDiskOfAClaim(t *testing.T) {
	size, err := diskSize(filepath.Join(t.TempDir(), "not", "made"))
	if err != nil || size <= 0 {
		t.Fatalf("%s, %v", size.String(), err)
	}
	for claimed, want := range map[Size]string{1 << 30: "", 1 << 62: "--node-ephemeral-storage 4Ei: the disk of " + dataRoot + " has "} {
		err := Claim{EphemeralStorage: claimed}.check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", claimed.String(), err, want)
		}
	}
}

func TestHugePagesFlag(t *testing.T) {
	var h HugePages
	for _, text := range []string{"2Mi=128Mi", "hugepages-1Gi=1Gi,2Mi=64Mi"} {
		if err := h.Set(text); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.String(); got != "2Mi=64Mi,1Gi=1Gi" {
		t.Errorf("got %s", got)
	}
	text, err := json.Marshal(Claim{HugePages: h})
	var again Claim
	if err := errors.Join(err, json.Unmarshal(text, &again)); err != nil || !reflect.DeepEqual(again.HugePages, h) {
		t.Errorf("%s is read as %v, %v", text, again, err)
	}
	if err := h.Set(""); err != nil || h != nil {
		t.Errorf("nothing: %v, %v", h, err)
	}
	for _, wrong := range []string{"2Mi", "2Mi=", "=2Mi", "2Mi=1,", "2Mi=x"} {
		if err := new(HugePages).Set(wrong); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

// What the machine has not, or not that much of, is refused with what to do.
func TestHugePagesOfTheMachine(t *testing.T) {
	if err := host.HugePagesLimits(); err != nil {
		if err := (HugePages{2 << 20: 0}).check(nil); err == nil || !strings.Contains(err.Error(), "can't be enforced") {
			t.Errorf("a machine without limits: %v", err)
		}
		t.Skip(err)
	}
	pools := func() ([]host.HugePages, error) {
		return []host.HugePages{{Size: 2 << 20, Total: 8}, {Size: 1 << 30}}, nil
	}
	for text, want := range map[string]string{
		"2Mi=16Mi,1Gi=0": "",
		"2Mi=18Mi":       "--node-hugepages 2Mi=18Mi: this machine's pool has 16Mi of them, and a node can't have more; `echo 9 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages`",
		"1Gi=1Gi":        "this machine's pool has 0 of them",
		"16Mi=16Mi":      "--node-hugepages 16Mi=16Mi: this machine has no huge pages of that size; those that it can have: 2Mi, 1Gi",
	} {
		var h HugePages
		if err := h.Set(text); err != nil {
			t.Fatal(err)
		}
		if err := h.check(pools); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestClaimIsValidated(t *testing.T) {
	for name, tc := range map[string]struct {
		claim Claim
		want  string
	}{
		"nothing":       {Claim{}, ""},
		"all of it":     {Claim{CPUs: 1, Memory: 256 << 20, PIDs: 128}, ""},
		"negative CPUs": {Claim{CPUs: -1}, "--node-cpu -1"},
		"little memory": {Claim{Memory: 100 << 20}, "--node-memory 100Mi: a node needs at least 256Mi"},
		"negative":      {Claim{Memory: -1}, "--node-memory -1"},
		"few processes": {Claim{PIDs: 10}, "--node-pids 10: a node needs at least 128"},
		"little disk":   {Claim{EphemeralStorage: 100 << 20}, "--node-ephemeral-storage 100Mi: a node needs at least 1Gi"},
		"no size":       {Claim{HugePages: HugePages{3 << 20: 6 << 20}}, "--node-hugepages 3Mi=6Mi: no machine has huge pages of 3Mi"},
		"half a page":   {Claim{HugePages: HugePages{2 << 20: 3 << 20}}, "--node-hugepages 2Mi=3Mi: give a multiple of 2Mi"},
		"no pages":      {Claim{HugePages: HugePages{2 << 20: 0, 1 << 30: 1 << 30}}, ""},
	} {
		c := DefaultConfig()
		c.Claim = tc.claim
		if err := c.Validate(); tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestClaimIsNoMoreThanTheMachine(t *testing.T) {
	if err := (Claim{}).check(); err != nil {
		t.Errorf("nothing claimed: %v", err)
	}
	if err := (Claim{CPUs: int64(runtime.NumCPU()) + 1}).check(); err == nil || !strings.Contains(err.Error(), "can't have more") {
		t.Errorf("a CPU too many: %v", err)
	}
	memory, err := host.MachineMemory()
	if err != nil {
		t.Skip(err)
	}
	if err := (Claim{Memory: Size(memory.Total) + 1<<20}).check(); err == nil || !strings.Contains(err.Error(), "--node-memory") {
		t.Errorf("too much memory: %v", err)
	}
}

func TestSizeFlag(t *testing.T) {
	for text, want := range map[string]Size{"4Gi": 4 << 30, "512Mi": 512 << 20, "1G": 1e9, "300000000": 3e8} {
		var s Size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%s = %d, %v, want %d", text, s, err, want)
		}
		var again Size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%s: %s is read as %d, %v", text, s.String(), again, err)
		}
	}
	for _, text := range []string{"", "4GB", "much"} {
		var s Size
		if err := s.Set(text); err == nil {
			t.Errorf("%q = %d", text, s)
		}
	}
}
