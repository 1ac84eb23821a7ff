package cluster

import (
	"runtime"
	"strings"
	"testing"

	"minato/internal/host"
)

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
	} {
		c := DefaultConfig()
		c.Claim = tc.claim
		if err := c.Validate(); tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestClaimIsNoMoreThanTheMachine(t *testing.T) {
	cg := Paths{Name: "claim-test"}.Cgroup()
	if err := (Claim{}).check(cg); err != nil {
		t.Errorf("nothing claimed: %v", err)
	}
	if err := (Claim{CPUs: int64(runtime.NumCPU()) + 1}).check(cg); err == nil || !strings.Contains(err.Error(), "can't have more") {
		t.Errorf("a CPU too many: %v", err)
	}
	memory, err := host.MachineMemory()
	if err != nil {
		t.Skip(err)
	}
	if err := (Claim{Memory: Size(memory.Total) + 1<<20}).check(cg); err == nil || !strings.Contains(err.Error(), "--node-memory") {
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
