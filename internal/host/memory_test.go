package host

import "testing"

func TestParseMemory(t *testing.T) {
	got, err := parseMemory([]byte("MemTotal:       24655160 kB\nMemFree:        14201096 kB\nMemAvailable:   23158004 kB\nSwapTotal:        65532 kB\n"))
	if want := (Memory{24655160 << 10, 23158004 << 10, 65532 << 10}); err != nil || got != want {
		t.Errorf("parseMemory = %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "MemTotal: 1 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n"} {
		if got, err := parseMemory([]byte(bad)); err == nil {
			t.Errorf("parseMemory(%q) = %v, want an error", bad, got)
		}
	}
}

func TestMachineMemory(t *testing.T) {
	if m, err := MachineMemory(); err != nil || m.Available <= 0 || m.Available > m.Total {
		t.Errorf("MachineMemory = %+v, %v", m, err)
	}
}
