package host

import (
	"slices"
	"strings"
	"testing"
)

func TestCleanMappings(t *testing.T) {
	const path = "/usr/bin/minato"
	clean := "Rss: 40 kB\nPrivate_Clean: 40 kB\nPrivate_Dirty:         0 kB\nAnonymous:             0 kB\nVmFlags: rd mr\n"
	for _, test := range []struct {
		name, smaps string
		want        []mapping
	}{
		{"text", "00400000-00500000 r-xp 00000000 fe:00 12 /usr/bin/minato\n" + clean, []mapping{{0x400000, 0x100000}}},
		{"constants", "00500000-00700000 r--p 00100000 fe:00 12                 /usr/bin/minato\n" + clean, []mapping{{0x500000, 0x200000}}},
		{"written before it became read-only", "00500000-00700000 r--p 00100000 fe:00 12 /usr/bin/minato\nPrivate_Dirty: 8 kB\nAnonymous: 8 kB\n", nil},
		{"swapped or copied", "00500000-00700000 r--p 00100000 fe:00 12 /usr/bin/minato\nPrivate_Dirty: 0 kB\nAnonymous: 4 kB\n", nil},
		{"dirty after clean", "00400000-00500000 r-xp 0 fe:00 12 /usr/bin/minato\n" + clean + "00500000-00700000 r--p 0 fe:00 12 /usr/bin/minato\nPrivate_Dirty: 8 kB\n", []mapping{{0x400000, 0x100000}}},
		{"data", "00700000-00800000 rw-p 00300000 fe:00 12 /usr/bin/minato\n" + clean, nil},
		{"shared", "00700000-00800000 r--s 00300000 fe:00 12 /usr/bin/minato\n" + clean, nil},
		{"another file", "00700000-00800000 r--p 00300000 fe:00 12 /usr/bin/minato-old\n" + clean, nil},
		{"heap", "c000000000-c004000000 rw-p 00000000 00:00 0 \n" + clean, nil},
		{"nonsense", "zz-yy r--p 0 0 0 /usr/bin/minato\n\n:\nPrivate_Dirty: 1 kB\n", nil},
	} {
		got, err := cleanMappings(strings.NewReader(test.smaps), path)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
}

// The program must go on as if nothing had happened.
func TestReleaseProgramPages(t *testing.T) {
	for range 3 {
		if err := ReleaseProgramPages(); err != nil {
			t.Fatal(err)
		}
	}
}
