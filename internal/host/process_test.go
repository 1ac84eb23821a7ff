package host

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for line, want := range map[string]time.Duration{
		"7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 5 0 0": 3 * time.Second,
		"7 (minato) S 1": -1,
		"":               -1,
		"7 (m) S 1 7 7 0 -1 4194560 100 0 0 0 x 50 9 9": -1,
	} {
		got, err := parseStat(line)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v; want %v", line, got, err, want)
		}
	}
}

func TestReadProcess(t *testing.T) {
	before, err := ReadProcess(os.Getpid())
	if err != nil || before.Memory < 1<<20 || before.Resident < before.Memory {
		t.Fatalf("%+v, %v", before, err)
	}
	held := make([]byte, 64<<20)
	for i := 0; i < len(held); i += 4096 {
		held[i] = 1
	}
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
		held[0]++
	}
	after, err := ReadProcess(os.Getpid())
	if err != nil || after.Memory < before.Memory+32<<20 || after.CPU <= before.CPU {
		t.Errorf("%+v became %+v, %v", before, after, err)
	}
	if _, err := ReadProcess(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that is not there: %v", err)
	}
}
