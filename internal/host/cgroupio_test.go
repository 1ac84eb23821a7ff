package host

import (
	"slices"
	"testing"
)

func TestIOOfCgroup2(t *testing.T) {
	c := Cgroup{Path: "p", Root: files(t, map[string]string{
		"cgroup.controllers": "io\n",
		"p/io.stat":          "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:1 \nnonsense\n",
	})}
	have, err := c.IO()
	if want := []DeviceIO{{Major: 254, Reads: 1, Writes: 2, ReadBytes: 4096, WriteBytes: 8192}}; err != nil || !slices.Equal(have, want) {
		t.Errorf("%+v, %v, want %+v", have, err, want)
	}
}

func TestBlkio(t *testing.T) {
	have := parseBlkio(nil, []byte("254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 1\n7:1 Read 5\nTotal 12293\n"),
		func(d *DeviceIO, op string, n uint64) { d.add(op, &d.ReadBytes, &d.WriteBytes, n) })
	if want := []DeviceIO{{Major: 254, ReadBytes: 4096, WriteBytes: 8192}, {Major: 7, Minor: 1, ReadBytes: 5}}; !slices.Equal(have, want) {
		t.Errorf("%+v, want %+v", have, want)
	}
}

func TestCountersOfThisMachine(t *testing.T) {
	have, err := (Netns{}).Counters()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(have, func(l LinkCounters) bool { return l.Name == "lo" || l.Name == "" }) {
		t.Errorf("interfaces %+v", have)
	}
}
